"""One IPython kernel in a sandbox. It runs code and returns the output; it does not know points.

Only the kernel's sockets connect the inside with the outside, in a folder of their own. Jupyter's
messages are JSON with a signature. Only plain text is kept of a kernel's messages, up to a limit.

Source: https://jupyter-client.readthedocs.io/en/stable/messaging.html
"""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from vmmlab.base.errors import InfraError
from vmmlab.base.message import Text, msg
from vmmlab.base.messagedata import from_json, to_json
from vmmlab.base.scratch import scratch_folder
from vmmlab.host import toolroots
from vmmlab.host.processes import end_tree
from vmmlab.host.rlimits import ResourceLimits
from vmmlab.host.running import kill_tree
from vmmlab.host.sandbox import Sandbox
from vmmlab.i18n.translate import Reader
from vmmlab.worksheet.guard import Guard

MOST_TEXT: Final = 100_000
"""The most characters of output that are kept of one cell."""
STOPPED: Final = "Stopped"
"""The name of the error in the output of a cell that was stopped."""
_PACKAGE: Final = Path(__file__).resolve().parents[1]
"""The package; an installed one has the whole course in `data`, perhaps with all solutions."""
_LONG_FOLDER: Final = 70
_START_S: Final = 60.0
_GRACE_S: Final = 3.0
"""How long an interrupted cell may take to end."""
_MESSAGE_BYTES: Final = 4 * 1024 * 1024
_MESSAGES_WAITING: Final = 8
"""How many messages of a socket may wait in this process; more wait in the kernel, or are lost."""
_CELL_BYTES: Final = 16 * 1024 * 1024
_CELL_MESSAGES: Final = 20_000
_SILENT: Final = 4
"""After so many polls without a message a cell has ended whose answer has come."""
_POLL_S: Final = 0.25


@dataclass
class Done:
    """The result of one piece of code.

    Attributes:
        outputs: nbformat's outputs, as dicts.
        values: the requested variables, as text from the kernel; undefined ones are left out.
        ended: why the code was stopped, else "".
    """

    outputs: list[dict[str, Any]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    ended: Text = ""


class Budget:
    """What a kernel may send about one cell.

    Attributes:
        spent: why it is over; "" if it is not.
        silent: how often nothing has come since the last message.
    """

    def __init__(self) -> None:
        self.spent: Text = ""
        self.silent = 0
        self._bytes = self._messages = 0

    @property
    def quiet(self) -> bool:
        """Whether nothing has come for a while."""
        return self.silent > _SILENT

    def take(self, size: int) -> None:
        """Count a message of `size` bytes."""
        self._bytes += size
        self._messages += 1
        if self._bytes > _CELL_BYTES:
            self.spent = msg("stopped after {mib} MiB of output", mib=_CELL_BYTES >> 20)
        elif self._messages > _CELL_MESSAGES:
            self.spent = msg("stopped after {count} messages", count=_CELL_MESSAGES)


class Kernel:
    """A kernel that runs one piece of code after another. Use as a context manager.

    Args:
        box: the sandbox.
        environment: variables for the code.
        limits: the limits of each process in the kernel.
        say: the language of the notebook.

    Raises:
        InfraError: it does not start, for which the code is not to blame.
    """

    def __init__(
        self,
        box: Sandbox,
        environment: Mapping[str, str],
        limits: ResourceLimits,
        say: Reader | None = None,
    ) -> None:
        self._rest = (say or Reader())(msg("… (the rest is left out)"))
        # A socket's name has at most 107 bytes (unix(7)).
        place = Path("/tmp") if len(tempfile.gettempdir()) > _LONG_FOLDER else None
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(scratch_folder("kernel", place))
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: Guard | None = None
        self._client: Any = None
        self._answers: dict[Any, dict[str, Any]] = {}
        try:
            self._start(box, environment, limits)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, code: str, timeout_s: float) -> Done:
        """Run a cell; interrupt it after `timeout_s` seconds, and end it if that has no effect."""
        message = self._client.execute(code, stop_on_error=False, allow_stdin=False)
        done = Done()
        ended = self._collect(message, done.outputs, timeout_s)
        if ended:
            done.ended = ended
            self._interrupt(message)
        return done

    def values(self, names: Iterable[str], timeout_s: float) -> Done:
        """Return the values of variables, as the `repr` of their `repr`.

        Args:
            names: the variables.
            timeout_s: as for `run`.
        """
        asked = {name: f"__import__('builtins').repr({name})" for name in names}
        message = self._client.execute(
            "", silent=True, store_history=False, user_expressions=asked, allow_stdin=False
        )
        done = Done(ended=self._collect(message, [], timeout_s))
        if done.ended:
            self._interrupt(message)
            return done
        said = self._reply(message, timeout_s).get("user_expressions")
        for name in asked:
            answer = said.get(name) if isinstance(said, dict) else None
            data = answer.get("data") if isinstance(answer, dict) else None
            text = data.get("text/plain") if isinstance(data, dict) else None
            if isinstance(text, str) and len(text) <= MOST_TEXT:
                done.values[name] = text
        return done

    @property
    def alive(self) -> bool:
        """Whether the kernel runs."""
        return self._process is not None and self._process.poll() is None

    def close(self) -> None:
        """End the kernel with all processes that it has started, and remove its folder."""
        if self._guard is not None:
            self._guard.close()
        if self._process is not None:
            kill_tree(self._process)
        if self._client is not None:
            self._client.stop_channels()
            self._client.context.destroy(linger=0)
        self._process = self._client = self._guard = None
        self._stack.close()

    def _start(self, box: Sandbox, environment: Mapping[str, str], limits: ResourceLimits) -> None:
        # Imported here because making worksheets does not need it.
        import zmq
        from jupyter_client.blocking.client import BlockingKernelClient
        from jupyter_client.connect import write_connection_file

        file, _ = write_connection_file(
            str(self._folder / "kernel.json"), transport="ipc", ip=str(self._folder / "socket")
        )
        words = [sys.executable, "-I", "-m", "ipykernel_launcher", "-f", file]
        words += ["--HistoryManager.hist_file=:memory:", "--log-level=CRITICAL"]
        command = box.hiding(_PACKAGE / "data").wrap(
            words,
            ro=shown(),
            rw=[self._folder],
            limits=limits,
            env={"HOME": str(self._folder), "IPYTHONDIR": f"{self._folder}/ipython", **environment},
        )
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd=self._folder,
        )
        self._guard = Guard(self._process.pid, partial(end_tree, self._process.pid))
        context = zmq.Context()
        context.setsockopt(zmq.MAXMSGSIZE, _MESSAGE_BYTES)
        context.setsockopt(zmq.RCVHWM, _MESSAGES_WAITING)
        self._client = BlockingKernelClient(context=context)
        self._client.load_connection_file(file)
        self._client.start_channels(stdin=False, hb=False)
        end = time.monotonic() + _START_S
        while True:
            # Messages on the other channel arrive only from some moment on: ask until then.
            if not self._collect(self._client.kernel_info(), [], 1.0):
                return
            if not self.alive or time.monotonic() > end:
                raise InfraError(
                    msg("A kernel for a worksheet could not be started."),
                    expected=msg("ipykernel, from vmmlab[instructor]"),
                    found=msg("it ended")
                    if not self.alive
                    else msg("no answer within {seconds:.0f} s", seconds=_START_S),
                    next_step=msg("run `python -m ipykernel_launcher` here, and `vmmlab doctor`"),
                )

    def _collect(self, message: str, outputs: list[dict[str, Any]], timeout_s: float) -> Text:
        """Gather the results of one request; return why it was stopped, "" if it was not."""
        end = time.monotonic() + timeout_s
        kept = 0
        budget = Budget()
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return msg("stopped after {timeout_s:.0f} s", timeout_s=timeout_s)
            try:
                heard = self._heard(min(left, _POLL_S), budget)
                if budget.spent:
                    return budget.spent
                if heard["parent_header"].get("msg_id") != message:
                    continue
                kind, content = heard["msg_type"], heard["content"]
                if kind == "status" and content["execution_state"] == "idle":
                    return ""
                if kind == "clear_output":
                    outputs.clear()
                one = _output(kind, content, MOST_TEXT - kept, self._rest)
            except queue.Empty:
                if self._replied(message) and budget.quiet:
                    return ""  # the last message was lost among many
                if not self.alive:
                    return (self._guard and self._guard.reason) or msg("the kernel has ended")
                continue
            except Exception:  # whatever a kernel can send instead of a message
                return msg("the kernel has sent something that is not a message")
            if one is not None and kept < MOST_TEXT:
                kept += len(str(one))
                _add(outputs, one)

    def _replied(self, message: str) -> bool:
        """Return whether the kernel has answered a request; the answer stays for `_reply`."""
        with suppress(Exception):
            while message not in self._answers:
                heard = self._client.get_shell_msg(timeout=0)
                content = heard["content"]
                self._answers = {
                    heard["parent_header"].get("msg_id"): content
                    if isinstance(content, dict)
                    else {}
                }
        return message in self._answers

    def _heard(self, timeout_s: float, budget: Budget) -> dict[str, Any]:
        """Return the next message of the kernel about its output.

        Raises:
            queue.Empty: there is none in time.
            Exception: it is malformed.
        """
        channel = self._client.iopub_channel
        if not channel.socket.poll(int(timeout_s * 1000)):
            budget.silent += 1
            raise queue.Empty
        budget.silent = 0
        parts = channel.socket.recv_multipart()
        budget.take(sum(map(len, parts)))
        _, parts = channel.session.feed_identities(parts)
        heard: dict[str, Any] = channel.session.deserialize(parts)
        return heard

    def _interrupt(self, message: str) -> None:
        """Interrupt the running cell; end the kernel if that has no effect."""
        if self.alive:
            self._client.control_channel.send(self._client.session.msg("interrupt_request", {}))
            if not self._collect(message, [], _GRACE_S):
                return
        if self._process is not None:
            kill_tree(self._process)

    def _reply(self, message: str, timeout_s: float) -> dict[str, Any]:
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self.alive:
            if self._replied(message):
                return self._answers[message]
            self._client.shell_channel.socket.poll(int(_POLL_S * 1000))
        return {}


def shown() -> list[Path]:
    """Return what must be readable inside: this Python, its packages, and vmmlab itself."""
    python = Path(sys.executable)
    found = [*toolroots.roots(python), Path(sys.prefix), Path(sys.base_prefix), _PACKAGE]
    kernel = find_spec("ipykernel")
    if kernel is not None and kernel.origin:  # perhaps of another environment
        found.append(Path(kernel.origin).parents[1])
    return [
        path
        for path in dict.fromkeys(found)
        if path.is_dir()
        and (path.is_relative_to("/usr/local") or not path.is_relative_to("/usr"))
        and path != Path("/")
    ]


def _output(kind: str, content: Mapping[str, Any], room: int, rest: str) -> dict[str, Any] | None:
    """Return an nbformat output of plain text alone: HTML could attack the reader.

    Raises:
        Exception: the message is malformed.
    """

    def text(said: object) -> str:
        if not isinstance(said, str):
            raise TypeError("this is no text")
        said = _encodable(said)
        return said if len(said) <= room else f"{said[:room]}\n{rest}\n"

    if kind == "stream":
        name = "stderr" if content["name"] == "stderr" else "stdout"
        return {"output_type": "stream", "name": name, "text": text(content["text"])}
    if kind in ("execute_result", "display_data"):
        data = {"text/plain": text(content["data"].get("text/plain", ""))}
        one: dict[str, Any] = {"output_type": kind, "data": data, "metadata": {}}
        if kind == "execute_result":
            one["execution_count"] = int(content["execution_count"])
        return one
    if kind == "error":
        return error(
            _not_ours(text(content["ename"])),
            text(content["evalue"]),
            [text(line) for line in content["traceback"][:100]],
        )
    return None


def _encodable(text: str) -> str:
    """Return a text without halves of characters, with which no notebook can be written."""
    return text.encode("utf-8", "backslashreplace").decode()


def stopped(why: Text, shown: str) -> dict[str, Any]:
    """Return the output of a cell that was stopped.

    Args:
        why: the reason, kept as a message: `why_stopped` returns it.
        shown: what the student reads.
    """
    return error(STOPPED, json.dumps(to_json(why)), [shown])


def why_stopped(output: Mapping[str, Any]) -> Text:
    """Return why a cell was stopped, "" for any other output."""
    if output.get("ename") != STOPPED:
        return ""
    value = str(output.get("evalue", ""))
    try:
        return from_json(json.loads(value))
    except ValueError:  # an exception of the student's own that is called so
        return value


def _not_ours(name: str) -> str:
    """Return the name of a notebook's own error, which must not look like one of this module."""
    return f"{name} (of the notebook)" if name.strip().lower() == STOPPED.lower() else name


def error(name: str, value: str, traceback: list[str]) -> dict[str, Any]:
    """Return an nbformat output of an exception; nbgrader gives 0 points for a cell with one."""
    return {"output_type": "error", "ename": name, "evalue": value, "traceback": traceback}


def _add(outputs: list[dict[str, Any]], one: dict[str, Any]) -> None:
    """Add an output; a piece of a stream is joined to the piece before."""
    before = outputs[-1] if outputs else {}
    if one["output_type"] == "stream" and before.get("name") == one["name"]:
        before["text"] += one["text"]
    else:
        outputs.append(one)
