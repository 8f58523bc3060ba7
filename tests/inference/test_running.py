"""The server's socket."""

import asyncio
import socket

from trapline.inference.running import _listening


def test_answers_do_not_wait_for_acknowledgements():
    async def option_of_an_accepted_connection():
        accepted = asyncio.get_running_loop().create_future()

        def accept(_, writer):
            connection = writer.get_extra_info("socket")
            accepted.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        server = await asyncio.start_server(accept, sock=_listening("127.0.0.1", 0))
        async with server:
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            option = await accepted
            writer.close()
        return option

    assert asyncio.run(option_of_an_accepted_connection()) != 0
