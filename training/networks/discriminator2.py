"""Discriminators (trial)."""
from __future__ import annotations
import torch, torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm as sn

def _frozen(i,o):
    c=nn.Conv2d(i,o,1,bias=False); nn.init.normal_(c.weight,std=(1/i)**.5); return c.requires_grad_(False)

class ProjectedDiscriminator(nn.Module):
    """heads on frozen features; returns list of logits (patch levels) + global"""
    def __init__(self, channels, mixed=(32,64,128,192), width=64):
        super().__init__()
        self.ccm=nn.ModuleList(_frozen(c,m) for c,m in zip(channels,mixed))
        self.csm=nn.ModuleList(_frozen(mixed[i+1],mixed[i]) for i in range(len(mixed)-1))
        self.heads=nn.ModuleList()
        for i,m in enumerate(mixed):
            s=2 if i==0 else 1
            self.heads.append(nn.Sequential(sn(nn.Conv2d(m,width,3,s,1)),nn.LeakyReLU(.2),sn(nn.Conv2d(width,width,3,1,1)),nn.LeakyReLU(.2),sn(nn.Conv2d(width,1,3,1,1))))
        self.whole=nn.Sequential(sn(nn.Conv2d(mixed[-1],128,3,1,1)),nn.LeakyReLU(.2),sn(nn.Conv2d(128,1,4)))
        g=torch.Generator().manual_seed(3)
        for p in list(self.ccm.parameters())+list(self.csm.parameters()): p.data.copy_(torch.randn(p.shape,generator=g)*p.shape[1]**-.5)
        self.register_buffer("scale",torch.ones(len(channels)))
    def forward(self, feats):
        z=None; out=[]
        mixed=[]
        for i in reversed(range(len(feats))):
            a=self.ccm[i](feats[i]*self.scale[i])
            if z is not None:
                a=(a+self.csm[i](F.interpolate(z,scale_factor=a.shape[-1]/z.shape[-1],mode="nearest") if a.shape[-1]!=z.shape[-1] else z))*.7071
            z=a; mixed.append(a)
        mixed=mixed[::-1]
        for a,h in zip(mixed,self.heads): out.append(h(a).float())
        w=self.whole(mixed[-1]).float()
        return out,w.mean((2,3),keepdim=True)

class SmallDiscriminator(nn.Module):
    """raw 64-px picture and hole"""
    def __init__(self, channels=4, w=48):
        super().__init__()
        self.a=nn.Sequential(nn.PixelUnshuffle(2),sn(nn.Conv2d(4*channels,w,3,1,1)),nn.LeakyReLU(.2),sn(nn.Conv2d(w,2*w,4,2,1)),nn.LeakyReLU(.2),sn(nn.Conv2d(2*w,2*w,3,1,1)),nn.LeakyReLU(.2))
        self.patch=sn(nn.Conv2d(2*w,1,3,1,1))
        self.b=nn.Sequential(sn(nn.Conv2d(2*w,3*w,4,2,1)),nn.LeakyReLU(.2),sn(nn.Conv2d(3*w,3*w,4,2,1)),nn.LeakyReLU(.2),sn(nn.Conv2d(3*w,1,4)))
    def forward(self,x):
        a=self.a(x); return [self.patch(a).float()],self.b(a).float()
