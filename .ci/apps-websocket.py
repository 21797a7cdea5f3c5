#!/usr/bin/env python3
"""A client for a WebSocket that sends messages back, by the package websockets.

    apps-websocket.py URL echo    sends messages of many lengths and kinds, closes the connection, prints ok
    apps-websocket.py URL end     keeps the connection open until the server closes it, and prints its reason
"""

import asyncio
import sys

import websockets

LENGTHS = (0, 1, 125, 126, 65535, 65536, 1000000)


async def echo(url):
    async with websockets.connect(url, max_size=None, open_timeout=60) as socket:
        for length in LENGTHS:
            for message in ("é" * (length // 2), b"\xff" * length):
                await socket.send(message)
                answer = await socket.recv()
                assert answer == message, f"a message of {length} bytes came back as one of {len(answer)}"
        # In pieces, which come back as one message.
        await socket.send(["good ", "morning"])
        assert await socket.recv() == "good morning"
        await (await socket.ping())
        # Many under way at once.
        for number in range(1000):
            await socket.send(str(number))
        for number in range(1000):
            assert await socket.recv() == str(number)
    assert socket.close_code == 1000, f"closed by {socket.close_code}"
    # A message that is too long ends the connection, and nothing else.
    async with websockets.connect(url, max_size=None, open_timeout=60) as socket:
        try:
            await socket.send(b"x" * 2000000)
            await socket.recv()
            raise AssertionError("a message of 2,000,000 bytes was accepted")
        except websockets.ConnectionClosed:
            pass
    print("ok")


async def end(url):
    async with websockets.connect(url, open_timeout=60) as socket:
        await socket.send("here")
        assert await socket.recv() == "here"
        try:
            await socket.recv()
        except websockets.ConnectionClosed:
            print(socket.close_code, socket.close_reason)


asyncio.run({"echo": echo, "end": end}[sys.argv[2]](sys.argv[1]))
