# SPDX-License-Identifier: Apache-2.0
"""A connection that is slow, breaks, or swallows the answer after the server has taken the question. Real sockets."""
import random
import socket
import threading
import time


class Proxy:
    """mode: "" passes everything on; "slow", "refuse", "break" (within a message), "swallow" (the answer does not come)."""

    def __init__(self, port):
        self.target, self.mode, self.mishaps = port, "", 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.pass_on, args=(client,), daemon=True).start()

    def pass_on(self, client):
        try:
            if self.mode == "refuse":
                self.mishaps += 1
                client.close()
                return
            with socket.create_connection(("127.0.0.1", self.target), timeout=10) as server:
                back = threading.Thread(target=self.pump, args=(server, client, True), daemon=True)
                back.start()
                self.pump(client, server, False)
                back.join()
        except OSError:
            pass
        finally:
            client.close()

    def pump(self, source, sink, is_answer):
        try:
            while data := source.recv(65536):
                mode = self.mode
                if mode == "slow":
                    self.mishaps += 1
                    time.sleep(random.uniform(0.05, 0.3))
                if mode == "swallow" and is_answer:
                    self.mishaps += 1
                    break
                if mode == "break" and not is_answer:
                    self.mishaps += 1
                    sink.sendall(data[:len(data) // 2])
                    break
                sink.sendall(data)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
