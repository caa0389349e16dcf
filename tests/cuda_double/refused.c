/* The rest of the entry points that pycuda names: they exist, so that it can be imported, and refuse.
 *
 * This file does not include cuda.h, whose prototypes and macros would stand in the way. cuCtxCreate is here on purpose:
 * the SDK stands on the primary context, the one that TensorRT and PyTorch use, and never makes one of its own.
 */
void cudaDoubleRefused(const char *entry);

#define REFUSE(entry) \
    __attribute__((visibility("default"))) int entry(void) { cudaDoubleRefused(#entry); return 801; } /* not supported */

REFUSE(cuArray3DCreate_v2) REFUSE(cuArray3DGetDescriptor_v2) REFUSE(cuArrayCreate_v2) REFUSE(cuArrayDestroy)
REFUSE(cuArrayGetDescriptor_v2) REFUSE(cuCtxAttach) REFUSE(cuCtxCreate_v4) REFUSE(cuCtxDetach)
REFUSE(cuCtxDisablePeerAccess) REFUSE(cuCtxEnablePeerAccess) REFUSE(cuCtxGetApiVersion)
REFUSE(cuCtxGetCacheConfig) REFUSE(cuCtxGetLimit) REFUSE(cuCtxGetSharedMemConfig) REFUSE(cuCtxSetCacheConfig)
REFUSE(cuCtxSetLimit) REFUSE(cuCtxSetSharedMemConfig) REFUSE(cuDeviceCanAccessPeer) REFUSE(cuDeviceGetByPCIBusId)
REFUSE(cuFuncGetAttribute) REFUSE(cuFuncSetAttribute) REFUSE(cuFuncSetBlockShape) REFUSE(cuFuncSetCacheConfig)
REFUSE(cuFuncSetSharedSize) REFUSE(cuIpcCloseMemHandle) REFUSE(cuIpcGetEventHandle) REFUSE(cuIpcGetMemHandle)
REFUSE(cuIpcOpenEventHandle) REFUSE(cuIpcOpenMemHandle_v2) REFUSE(cuLaunch) REFUSE(cuLaunchGrid)
REFUSE(cuLaunchGridAsync) REFUSE(cuLaunchKernel) REFUSE(cuLinkAddData_v2) REFUSE(cuLinkAddFile_v2)
REFUSE(cuLinkComplete) REFUSE(cuLinkCreate_v2) REFUSE(cuLinkDestroy) REFUSE(cuMemAllocManaged)
REFUSE(cuMemAllocPitch_v2) REFUSE(cuMemHostGetDevicePointer_v2) REFUSE(cuMemHostGetFlags)
REFUSE(cuMemHostRegister_v2) REFUSE(cuMemHostUnregister) REFUSE(cuMemcpy2DAsync_v2) REFUSE(cuMemcpy2DUnaligned_v2)
REFUSE(cuMemcpy2D_v2) REFUSE(cuMemcpy3DAsync_v2) REFUSE(cuMemcpy3DPeer) REFUSE(cuMemcpy3DPeerAsync)
REFUSE(cuMemcpy3D_v2) REFUSE(cuMemcpyAtoA_v2) REFUSE(cuMemcpyAtoD_v2) REFUSE(cuMemcpyAtoH_v2)
REFUSE(cuMemcpyDtoA_v2) REFUSE(cuMemcpyHtoA_v2) REFUSE(cuMemcpyPeer) REFUSE(cuMemcpyPeerAsync)
REFUSE(cuMemsetD16Async) REFUSE(cuMemsetD16_v2) REFUSE(cuMemsetD2D16Async) REFUSE(cuMemsetD2D16_v2)
REFUSE(cuMemsetD2D32Async) REFUSE(cuMemsetD2D32_v2) REFUSE(cuMemsetD2D8Async) REFUSE(cuMemsetD2D8_v2)
REFUSE(cuMemsetD32Async) REFUSE(cuMemsetD32_v2) REFUSE(cuMemsetD8_v2) REFUSE(cuModuleGetFunction)
REFUSE(cuModuleGetGlobal_v2) REFUSE(cuModuleGetSurfRef) REFUSE(cuModuleGetTexRef) REFUSE(cuModuleLoad)
REFUSE(cuModuleLoadData) REFUSE(cuModuleLoadDataEx) REFUSE(cuModuleUnload) REFUSE(cuParamSetSize)
REFUSE(cuParamSetTexRef) REFUSE(cuParamSetf) REFUSE(cuParamSeti) REFUSE(cuParamSetv) REFUSE(cuProfilerInitialize)
REFUSE(cuProfilerStart) REFUSE(cuProfilerStop) REFUSE(cuStreamAttachMemAsync) REFUSE(cuSurfRefGetArray)
REFUSE(cuSurfRefSetArray) REFUSE(cuTexRefCreate) REFUSE(cuTexRefDestroy) REFUSE(cuTexRefGetAddressMode)
REFUSE(cuTexRefGetAddress_v2) REFUSE(cuTexRefGetArray) REFUSE(cuTexRefGetFilterMode) REFUSE(cuTexRefGetFlags)
REFUSE(cuTexRefGetFormat) REFUSE(cuTexRefSetAddress2D_v3) REFUSE(cuTexRefSetAddressMode)
REFUSE(cuTexRefSetAddress_v2) REFUSE(cuTexRefSetArray) REFUSE(cuTexRefSetFilterMode) REFUSE(cuTexRefSetFlags)
REFUSE(cuTexRefSetFormat)
REFUSE(cuEventQuery) REFUSE(cuEventSynchronize) REFUSE(cuMemAllocHost_v2) REFUSE(cuMemGetAddressRange_v2)
REFUSE(cuMemcpyDtoDAsync_v2) REFUSE(cuMemcpyDtoD_v2) REFUSE(cuMemcpyDtoH_v2) REFUSE(cuMemcpyHtoD_v2)
REFUSE(cuMemsetD8Async) REFUSE(cuStreamWaitEvent)
