"""Calls do_cpuid, do_vmmcall and do_ioio for guests that are in states which no guest of ours has.

The CPU stands at the first instruction of the function, which was called for its own guest. It
runs from there once for each question; then all is as it was, and the call goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from vmmlab.images.layout import VMM_BASE
from vmmlab.observe.msr import execute
from vmmlab.observe.observation import Hit
from vmmlab.observe.session import Session
from vmmlab.probes.shared import Variables

from .crossing import CrossingProbe
from .evidence import Answer, Difference, SvmCpu
from .mending import REGS_AT
from .ports import PortAccess, Ports
from .standing import RAX, RIP, UNKNOWN, Question, Standing

CPUID, VMMCALL, IOIO = "do_cpuid", "do_vmmcall", "do_ioio"
EXT, SVM = 0x80000001, 0x8000000A
CPUNUM: Final = 0
_LEAVES: Final = ((0, 0), (1, 0), (0xB, 1), (0x80000000, 0), (EXT, 0), (0x80000008, 0), (SVM, 0),
                  (SVM + 1, 0), (4, 1), (7, 0), (0x40000000, 0), (0x80000002, 0))  # fmt: skip
_QUESTIONS: Final = (CPUNUM, 5, 0xFFFFFFFE, 0x100, 0x10000)
_NUMBER: Final = 0x4D  # of the CPU, while it is asked for it
_ECX_SVM: Final = 1 << 2
_IN_8, _SCRATCH, _AL = 1 << 4 | 1, 0x3FF, 0xFF
_IN, _SIZE_SHIFT, _PORT_SHIFT = 1, 4, 16  # of EXITINFO1 (APM 15.10.2)
_BYTES_4: Final = 4
_NEXT, _HIGH = 0x23456789AB, 0x5A5A5A5A << 32
_INFO1, _INFO2 = 0x78, 0x80
_LOW: Final = (1 << 32) - 1
_CPUID_CODE: Final = b"\x0f\xa2"
_CPUNUM_AT: Final = 8  # in struct pcpu, behind the padding
_COM1_LAST, _MODEM = 0x3FF, 0x03
_STEPS_MOST: Final = 600
_PATIENCE: Final = 64
"""Calls of a function on other CPUs after which nothing is asked: a guest makes no progress."""


@dataclass
class AskingProbe(CrossingProbe):
    """Asks the three functions on CPU 0, each when it is called there for the first time.

    Args:
        asks: whether it does.
    """

    asks: bool = False
    _asked_of: set[str] = field(default_factory=set, init=False)
    _calls: Counter[str] = field(default_factory=Counter, init=False)
    """How often each of them was called on other CPUs."""
    _met: dict[int, Hit] = field(default_factory=dict, init=False)
    """The CPUs that stand at the first instruction of one of them, until the BSP is there, too."""
    _were_met: set[str] = field(default_factory=set, init=False)

    async def start(self, session: Session) -> None:
        """Watch the three functions."""
        await CrossingProbe.start(self, session)
        if self.asks:
            await session.places.watch_all((CPUID, VMMCALL, IOIO))

    async def _ask(self, session: Session, hit: Hit) -> None:
        """Call a function once for each question, if it was called on CPU 0."""
        vcpu = self._vcpus.get(hit.cpu)
        if hit.place in self._asked_of or vcpu is None or hit.state.rdi != vcpu:
            return
        if hit.place not in self._were_met and len(self._vcpus) > 1:
            self._met[hit.cpu] = hit
            session.held.add(hit.cpu)
            if 0 in self._met and len(self._met) > 1:
                await self._ask_both(session)
            return
        if hit.cpu:
            self._calls[hit.place] += 1
            if self._calls[hit.place] > _PATIENCE:
                self._asked_of.add(hit.place)
                await session.places.unwatch(hit.place)
            return
        await self._ask_one(session, hit)

    async def _ask_both(self, session: Session) -> None:
        """Ask the BSP, also while another CPU is in the same function; then let all go on."""
        met, self._met = self._met, {}
        self._were_met |= {hit.place for hit in met.values()}
        if 0 in met:
            other = next((hit for cpu, hit in met.items() if cpu), None)
            await self._ask_one(session, met[0], other)
        session.held -= set(met)

    async def _ask_one(self, session: Session, hit: Hit, other: Hit | None = None) -> None:
        """Call a function once for each question.

        Args:
            session: the boot.
            hit: the BSP at its first instruction.
            other: another CPU that is there, too.
        """
        self._asked_of.add(hit.place)
        await session.places.unwatch(hit.place)
        asked = await self._standing(session, hit)
        number = int(hit.state.gs_base) - VMM_BASE + session.inputs.pcpu_pad + _CPUNUM_AT
        cpunum = await session.gdb.read_phys(number, 4)
        await session.gdb.write_phys(number, _NUMBER.to_bytes(4, "little"))
        questions = await self._questions(session, hit)
        variables, shares = Variables(session), False
        kept = await variables.held()
        for question in questions:
            before = await asked.put(question)
            differs = await self._run(session, hit.cpu, asked.back, question.access)
            if not await asked.is_back():
                return  # it has stopped, and the report says where
            lost = (*differs, *await asked.lost(question, before))
            self._answered(hit, Answer(hit.place, question.about, lost))
            shares = shares or await variables.held() != kept
        if other is not None and shares:
            for pair in _pairs(questions):
                if not await self._interrupted(session, hit, other, asked, *pair):
                    return
                if self._seen[hit.cpu].answers[-1].lost:
                    break
        await session.gdb.write_phys(number, cpunum)
        await asked.give_back()

    def _answered(self, hit: Hit, answer: Answer) -> None:
        answers = self._seen.get(hit.cpu, SvmCpu()).answers
        self._note(hit.cpu, answers=(*answers, answer))

    async def _standing(self, session: Session, hit: Hit) -> Standing:
        vmcb, regs = self._pages[hit.cpu][0], self._vcpus[hit.cpu] + REGS_AT
        return await Standing.at(session, hit.cpu, vmcb - VMM_BASE, regs - VMM_BASE)

    async def _interrupted(
        self,
        session: Session,
        hit: Hit,
        other: Hit,
        asked: Standing,
        question: Question,
        meanwhile: Question,
    ) -> bool:
        """Ask a question while another CPU answers a second one, at each store they could share.

        Neither of them may see anything of that. A CPU that waits for the other one, for a lock, is
        let go on when that has returned. The other one's accesses reach COM1.

        Returns:
            Whether both have returned.
        """
        second = await self._standing(session, other)
        before, waits = await asked.put(question), False
        ports = Ports(session, hit.cpu, question.access)
        variables = Variables(session)
        for _ in range(_STEPS_MOST):
            await ports.carry_out(await session.view.state(hit.cpu))
            stored = await variables.stored(hit.cpu)
            if not await session.step(hit.cpu) or await asked.is_back():
                break
            if stored and not waits:
                await second.put(meanwhile)
                waits = not await second.run()
        if not await asked.is_back() and not await asked.run():
            return False
        lost = (*ports.differences, *await asked.lost(question, before))
        if waits and not await second.run():
            return False
        await second.give_back()
        answer = Answer(hit.place, question.about, lost, meanwhile.about, other.cpu)
        self._answered(hit, answer)
        return True

    async def _run(
        self, session: Session, cpu: int, back: int | None, access: PortAccess | None
    ) -> list[Difference]:
        """Let a function run to its return; return in what its access of a port differs."""
        if access is not None and back is not None:
            return await Ports(session, cpu, access).run(back)
        await session.run_to_return(cpu, await session.view.state(cpu))
        return []

    async def _questions(self, session: Session, hit: Hit) -> list[Question]:
        if hit.place == CPUID:
            return [await self._leaf(session, hit.cpu, *leaf) for leaf in _LEAVES]
        if hit.place == VMMCALL:
            return [
                Question(
                    f"VMMCALL, EAX = {number:#x}",
                    {RAX: _HIGH | number},
                    {},
                    {"rax": _NUMBER if number == CPUNUM else UNKNOWN, "rip": RIP + 3},
                )
                for number in _QUESTIONS
            ]
        info = _SCRATCH << 16 | _IN_8
        fields = {_INFO1: info, _INFO2: _NEXT, RAX: _HIGH | 0x12345600}
        wanted = {"rax": fields[RAX], "rip": _NEXT}
        scratch = Question("IN AL, 0x3ff", fields, {}, wanted, compared=UNKNOWN & ~_AL)
        return [scratch, *(_access(one, _NEXT) for one in _accesses(session))]

    async def _leaf(self, session: Session, cpu: int, leaf: int, subleaf: int) -> Question:
        """Return a question for a leaf; this CPU itself answers it first."""
        found = await execute(session, cpu, _CPUID_CODE, {"rax": leaf, "rcx": subleaf})
        told = dict.fromkeys(("rax", "rbx", "rcx", "rdx"), 0)
        if found is not None and leaf != SVM:
            told = {name: found[name] & _LOW for name in told}
        if leaf == EXT:
            told["rcx"] &= ~_ECX_SVM
        return Question(
            f"CPUID leaf {leaf:#x}" + (f", subleaf {subleaf:#x}" if subleaf else ""),
            {RAX: _HIGH | leaf},
            {"rbx": _HIGH, "rcx": _HIGH | subleaf, "rdx": _HIGH},
            {**told, "rip": RIP + 2},
        )


def _accesses(session: Session) -> list[PortAccess]:
    """Return accesses of each size, at ports whose 16 bits all matter."""
    choice = session.choice
    return [
        PortAccess(
            is_in,
            0x8000 | choice.between(0x10, 0x7FF) << 4 | choice.between(0, 3) * size,
            size,
            choice.between(1 << 8 * size - 1, (1 << 8 * size) - 1),
        )
        for size in (1, 2, 4)
        for is_in in (True, False)
    ]


def _access(access: PortAccess, after: int) -> Question:
    """Return the question about an access of a guest whose next instruction is at an address."""
    info = access.port << _PORT_SHIFT | access.size << _SIZE_SHIFT | access.is_in * _IN
    mask = (1 << 8 * access.size) - 1
    before = _HIGH | 0x12345678
    rax = before & ~mask | access.value
    read = access.value if access.size == _BYTES_4 else rax
    return Question(
        access.about,
        {_INFO1: info, _INFO2: after, RAX: before if access.is_in else rax},
        {},
        {"rax": read if access.is_in else rax, "rip": after},
        access=access,
    )


def _pairs(questions: Sequence[Question]) -> Iterator[tuple[Question, Question]]:
    """Yield what a CPU is asked, and what another one is asked meanwhile.

    For accesses: one of the same kind, and one of the opposite direction. They reach COM1, where
    the values are those that its modem control and scratch register hold.
    """
    if questions[-1].access is None:
        yield questions[0], questions[1]
    for question in questions:
        if (one := question.access) is not None:
            port = _COM1_LAST + 1 - one.size
            for is_in in (one.is_in, not one.is_in):
                meanwhile = PortAccess(is_in, port, one.size, _MODEM if one.size == _BYTES_4 else 0)
                yield question, _access(meanwhile, _NEXT + 0x1111)
