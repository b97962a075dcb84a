"""Connections by name: whichever address answers first, in virtual time."""

from __future__ import annotations

import math
import socket

import pytest
import trio
import trio.testing

from trio_router.transport.names import in_turn, open_named

V4, V6 = socket.AF_INET, socket.AF_INET6
REFUSED = ConnectionRefusedError("refused")


class Socket(trio.socket.SocketType):
    """Connects after some seconds, or fails."""

    type = socket.SOCK_STREAM

    def __init__(self, net) -> None:
        self._net = net
        self.is_open = True
        net.sockets.append(self)

    async def connect(self, address) -> None:
        self.address = address[0]
        self._net.tried.append((address[0], trio.current_time() - self._net.began))
        after, fault = self._net.addresses[address[0]]
        await trio.sleep(after)
        if fault is not None:
            raise fault

    def setsockopt(self, *words) -> None:
        pass

    def close(self) -> None:
        self.is_open = False


class Net(trio.abc.SocketFactory, trio.abc.HostnameResolver):
    """`addresses`: how long each takes to answer, and with what fault."""

    def __init__(self, **addresses) -> None:
        self.addresses = {name.replace("_", ":"): how for name, how in addresses.items()}
        self.sockets: list[Socket] = []
        self.tried: list[tuple[str, float]] = []
        self.began = trio.current_time()
        trio.socket.set_custom_socket_factory(self)
        trio.socket.set_custom_hostname_resolver(self)

    def socket(self, *words) -> Socket:
        return Socket(self)

    async def getaddrinfo(self, host, port, *words):
        if host == b"nowhere":
            raise socket.gaierror("no such name")
        kinds = {True: V6, False: V4}
        return [(kinds[":" in a], socket.SOCK_STREAM, 6, "", (a, port)) for a in self.addresses]

    async def getnameinfo(self, *words):
        raise NotImplementedError

    @property
    def open(self) -> list[str]:
        return [one.address for one in self.sockets if one.is_open]


async def test_an_address_that_refuses_gives_way_at_once(autojump_clock):
    net = Net(_1=(0, REFUSED), a=(1, None))
    await open_named("here", 80)
    assert net.tried == [(":1", 0), ("a", 0)]
    assert net.open == ["a"]


async def test_an_address_that_is_slow_is_joined_by_the_next_and_the_first_to_answer_stays(
    autojump_clock,
):
    net = Net(a=(3, None), b=(1, None), c=(1, None), d=(9, None))
    await open_named("here", 80)
    assert net.tried == [("a", 0), ("b", 0.25), ("c", 0.5), ("d", 0.75)]
    assert trio.current_time() - net.began == 1.25
    assert net.open == ["b"]


async def test_of_two_that_answer_at_once_one_stays(autojump_clock):
    net = Net(a=(0.5, None), b=(0.25, None))
    await open_named("here", 80)
    assert len(net.open) == 1


async def test_where_none_answers_all_reasons_are_told(autojump_clock):
    net = Net(a=(0, REFUSED), b=(2, OSError("no route")))
    with pytest.raises(OSError, match=r"all attempts to connect to here:80 failed") as raised:
        await open_named("here", 80)
    assert [str(one) for one in raised.value.__cause__.exceptions] == ["refused", "no route"]
    assert net.open == []


async def test_a_name_that_there_is_not_is_an_error_of_its_own(autojump_clock):
    Net()
    with pytest.raises(socket.gaierror, match="no such name"):
        await open_named("nowhere", 80)


async def test_who_is_cancelled_leaves_nothing_open(autojump_clock):
    net = Net(a=(math.inf, None), b=(math.inf, None))
    with trio.move_on_after(1) as limit:
        await open_named("here", 80)
    assert limit.cancelled_caught
    assert len(net.tried) == 2
    assert net.open == []


def test_the_second_address_is_of_another_kind():
    def of(*kinds):
        return [(kind, 1, 6, "", (str(number), 80)) for number, kind in enumerate(kinds)]

    def order(*kinds):
        return [address[4][0] for address in in_turn(of(*kinds))]

    assert order(V6, V6, V6, V4, V4) == ["0", "3", "1", "2", "4"]
    assert order(V4, V6, V4) == ["0", "1", "2"]
    assert order(V4, V4) == ["0", "1"]
    assert order() == []
