"""A real MQTT broker for tests, where mosquitto is installed."""

import shutil
import socket
import subprocess
import time

BROKER = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin")
# In s: nothing here waits for long where all is well, and a busy machine is no failure.
PATIENCE = 600.0


class Broker:
    def __init__(self, folder, port):
        self.port = port
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous true\n")
        self.start()

    @property
    def url(self):
        return f"mqtt://127.0.0.1:{self.port}/plant"

    def start(self):
        self.process = subprocess.Popen([BROKER, "-c", self.config], stderr=subprocess.DEVNULL)
        until(self.answers)

    def answers(self):
        with socket.socket() as attempt:
            return attempt.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self):
        self.process.kill()
        self.process.wait()


def until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)
