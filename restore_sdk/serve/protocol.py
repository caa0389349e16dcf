"""Uvicorn's HTTP protocol with two more time limits: for slow headers, and for clients that stop reading."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

#: Seconds from a connection, or from a request's first byte, until its header must be whole.
HEADER_S = 10.0


class GuardedProtocol(H11Protocol):
    """Closes a connection whose request header does not get whole, and aborts one that does not take its answer."""

    stall_s = 60.0
    _header_timer: asyncio.TimerHandle | None = None
    _stall_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start waiting for the first request."""
        super().connection_made(transport)
        self._watch_header()

    def data_received(self, data: bytes) -> None:
        """Wait on while a header is incomplete."""
        super().data_received(data)
        self._watch_header()

    def on_response_complete(self) -> None:
        """Between requests, uvicorn's keep-alive limit holds; a header begun early by pipelining is ours again."""
        super().on_response_complete()
        if self.conn.trailing_data[0]:
            self._watch_header()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop all watching."""
        self._stop_header_timer()
        self._stop_stall_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: it has ``stall_s`` to go on."""
        super().pause_writing()
        if self._stall_timer is None:
            self._stall_timer = self.loop.call_later(self.stall_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        self._stop_stall_timer()
        super().resume_writing()

    def _watch_header(self) -> None:
        if self._busy or self.transport.is_closing():
            self._stop_header_timer()
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_S, self._header_late)

    def _header_late(self) -> None:
        self._header_timer = None
        if not self._busy:
            self.transport.close()

    @property
    def _busy(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None before the first request, whatever its annotation says
        return cycle is not None and not cycle.response_complete

    def _stop_header_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_stall_timer(self) -> None:
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
