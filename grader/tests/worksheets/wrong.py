"""Known-wrong answers: question → (what is wrong, the lines, the most that they may earn)."""

PLACE = "place = f'[{taking.register} + {taking.distance}]'\n"

WRONG: dict[str, list[tuple[str, str, float]]] = {
    # ---- lab 0
    "lab0-piece": [
        ("kilobytes of 1000", "in_kib = (piece.end - piece.start) // 1000", 0),
        ("bytes", "in_kib = piece.end - piece.start", 0),
        ("the first byte behind it", "last = piece.end", 0),
    ],
    "lab0-segment": [
        ("not times 16", "stands_at = stopped.cs + stopped.rip", 0),
        ("times 10", "stands_at = 10 * stopped.cs + stopped.rip", 0),
        ("RIP alone", "stands_at = stopped.rip; offset = stopped.rip", 0),
        ("the other way round", "offset = stopped.rip - 16 * (stopped.cs - stopped.other)", 0),
        ("more than 16 bits", "offset = 16 * stopped.cs + stopped.rip", 0),
    ],
    "lab0-alias": [
        ("identity", "seen_at = names.physical; lies_at = names.function", 0),
        ("2 GiB", "seen_at = names.physical + 0x80000000", 0),
        ("up instead of down", "lies_at = names.function + 0x40000000", 0),
    ],
    "lab0-header": [
        ("the sum itself", "checksum = 0x1BADB002 + found.flags", 0),
        ("all ones", "checksum = 0xFFFFFFFF - 0x1BADB002 - found.flags", 0),
        (
            "high byte first",
            "header = b''.join(w.to_bytes(4, 'big') for w in (0x1BADB002, found.flags,"
            " 2**32 - 0x1BADB002 - found.flags))",
            0,
        ),
        (
            "the boot loader's magic number",
            "header = b''.join(w.to_bytes(4, 'little') for w in (0x2BADB002, found.flags,"
            " 2**32 - 0x2BADB002 - found.flags))",
            0,
        ),
        (
            "only the magic number looked at, the last that fits",
            "fits = [n for n, h in enumerate(found.headers) if h[:4] == b'\\x02\\xb0\\xad\\x1b']\n"
            "right = [n for n in fits if sum(int.from_bytes(found.headers[n][a:a + 4], 'little')"
            " for a in (0, 4, 8)) % 2**32 == 0]\n"
            "valid = [n for n in fits if n not in right][-1]",
            0,
        ),
        (
            "any magic number",
            "valid = [n for n, h in enumerate(found.headers) if h[3] == 0x2B][0]",
            0,
        ),
    ],
    "lab0-power": [
        ("the BSP too", "waiting = list(power.ids)", 0),
        ("the BSP alone", "waiting = [power.bsp]", 0),
        ("everything is there", "there = list(power.parts)", 0),
        ("nothing is there", "there = []", 0),
        (
            "the APs run and a stack is there",
            "there = ['registers', 'firmware', 'stack', 'running APs', 'page tables', 'VMM']",
            0,
        ),
        (
            "one too few",
            "there = [p for p in power.parts"
            " if p in ('registers', 'firmware', 'real mode', 'local APIC')][1:]",
            1,
        ),
    ],
    # ---- lab 1
    "lab1-views": [
        ("physical taken for virtual", "mi_physical = views.mi", 0),
        ("the alias subtracted", "seen_by_alias = views.mi_arg - 0x40000000", 0),
        ("only below 1 GiB", "faults = [a for a in views.accesses if a < 0x40000000]", 1),
        ("everything faults", "faults = list(views.accesses)", 1),
        ("nothing faults", "faults = []", 1),
    ],
    "lab1-page": [
        ("4 KiB pages", "entry = page.address >> 12 & 511; distance = page.address & 0xFFF", 0),
        ("the alias counted in", "entry = page.address >> 21", 0),
    ],
    "lab1-message": [
        (
            "high byte first",
            "upper_end = int.from_bytes(message.message[8:12], 'big') * 1024 + 0x100000",
            0,
        ),
        (
            "the first MiB forgotten",
            "upper_end = int.from_bytes(message.message[8:12], 'little') * 1024",
            0,
        ),
        (
            "one field too early",
            "command_line = int.from_bytes(message.message[12:16], 'little')",
            0,
        ),
        ("all valid", "valid = ['memory', 'cmdline', 'mods', 'mmap']", 0),
    ],
    "lab1-records": [
        ("records of two pointers", "records = (array.end - array.start) // 16", 0),
        ("the id's place", "where = array.start + 24 * array.number + 8", 0),
        ("counted from 1", "where = array.start + 24 * (array.number - 1) + 16", 0),
    ],
    "lab1-sort": [
        ("link order", "order = list(range(7))", 0),
        (
            "id alone, the last first where they are equal",
            "by_file = sorted(range(7), key=lambda n: sorting.records[n][0], reverse=True)\n"
            "order = sorted(by_file, key=lambda n: sorting.records[n][1])",
            1.5,
        ),
        ("file first", "order = sorted(range(7), key=lambda n: sorting.records[n])", 0),
        ("one twice", "order = [0] * 7", 0),
        (
            "numbers as numbers",
            "import re\norder = sorted(range(7), key=lambda n: (re.sub(r'\\d+', lambda m:"
            " m[0].zfill(3), sorting.records[n][1].lower()), sorting.records[n][0]))",
            1.5,
        ),
    ],
    "lab1-prefix": [
        ("exact match", "called = [i for i in calls.ids if i == calls.wanted]", 0),
        (
            "case does not matter",
            "called = [i for i in calls.ids if i.lower().startswith(calls.wanted)]"
            " + ['Global1', 'Pcpu0', 'Paral1', 'pa']",
            0,
        ),
        ("all", "called = list(calls.ids); called_wrongly = list(calls.ids)", 0),
    ],
    # ---- lab 2
    "lab2-ends": [
        ("RSP at the base", "rsp = block.base", 0),
        ("one past the end", "last_byte = block.base + block.size", 0),
        ("upwards", "pushed = block.base + block.size + 8 * block.pushes", 0),
        ("from the last byte", "pushed = block.base + block.size - 1 - 8 * block.pushes", 0),
    ],
    "lab2-call": [
        ("nothing pushed", "rsp_inside = call.rsp", 0),
        ("the call's own address", "stored = call.at.to_bytes(8, 'little')", 1),
        ("high byte first", "stored = (call.at + call.length).to_bytes(8, 'big')", 0),
        ("four bytes", "stored = (call.at + call.length).to_bytes(4, 'little')", 0),
    ],
    "lab2-align": [
        (
            "exchanged",
            "a = -(frame.room + 8 * frame.more + 16) % 16 + frame.room\n"
            "b = -(frame.room + 8 * frame.more + 8) % 16 + frame.room\n"
            "entered_by_call, entered_by_jmp = b, a",
            0,
        ),
        ("not rounded", "entered_by_call = entered_by_jmp = 7", 0),
        ("far too much", "entered_by_call = frame.room + 64", 0),
    ],
    "lab2-frame": [
        ("upwards", "lies_at = trap.rbp + trap.distance", 0),
        ("32 bits", "read_at = 2**32 - trap.distance", 0),
        ("the old RBP", "return_at = trap.rbp", 0),
    ],
    "lab2-owner": [
        (
            "the end belongs to the next",
            "at = owned.stacks.items()\n"
            "owners = [next((n for n, b in at if b <= r < b + owned.size), 'none')"
            " for r in owned.rsps]",
            1,
        ),
        ("all the same", "owners = ['bsp'] * 5", 1),
    ],
    "lab2-verdicts": [
        ("all right", "verdicts = ['right'] * 4", 0),
        (
            "call and size exchanged",
            "verdicts = ['base' if r == b else 'right' if r - b == boots.size else 'boot stack'"
            " for b, r in boots.seen]",
            2,
        ),
    ],
    "lab2-switch": [
        (
            "call",
            "switch = worksheet.assemble(f'xor ebp, ebp; mov rsp, {registers.new_rsp};"
            " call {registers.jmpto}', 64)",
            2,
        ),
        (
            "RBP kept",
            "switch = worksheet.assemble(f'mov rsp, {registers.new_rsp}; jmp {registers.jmpto}',"
            " 64)",
            3,
        ),
        (
            "registers exchanged",
            "switch = worksheet.assemble(f'xor ebp, ebp; mov rsp, {registers.jmpto};"
            " jmp {registers.new_rsp}', 64)",
            0,
        ),
        (
            "push and ret",
            "switch = worksheet.assemble(f'xor ebp, ebp; mov rsp, {registers.new_rsp};"
            " push {registers.jmpto}; ret', 64)",
            3,
        ),
        (
            "BP only",
            "switch = worksheet.assemble(f'xor bp, bp; mov rsp, {registers.new_rsp};"
            " jmp {registers.jmpto}', 64)",
            3,
        ),
        ("no code", "switch = b'\\x06\\x06'", 0),
    ],
    # ---- lab 3
    "lab3-segments": [
        ("not times 16", "first = segments.first_segment + segments.first_offset", 0),
        ("times 10", "first = 10 * segments.first_segment + segments.first_offset", 0),
        ("offset forgotten", "second = segments.second_address >> 4", 0),
        ("an address", "third = segments.third_address", 0),
    ],
    "lab3-far-jump": [
        (
            "exchanged",
            "s = (jump.address - jump.offset) >> 4\n"
            "far_jump = b'\\xea' + s.to_bytes(2, 'little') + jump.offset.to_bytes(2, 'little')",
            1,
        ),
        (
            "high byte first",
            "s = (jump.address - jump.offset) >> 4\n"
            "far_jump = b'\\xea' + jump.offset.to_bytes(2, 'big') + s.to_bytes(2, 'big')",
            1,
        ),
        (
            "offset 0",
            "far_jump = b'\\xea\\0\\0' + (jump.address >> 4).to_bytes(2, 'little')",
            1,
        ),
        (
            "offset counted twice",
            "far_jump = b'\\xea' + jump.offset.to_bytes(2, 'little')"
            " + (jump.address >> 4).to_bytes(2, 'little')",
            2,
        ),
        ("a near jump", "far_jump = b'\\xe9\\0\\0\\0\\0'", 0),
        ("text", "far_jump = 'EA 00 00 00 00'", 0),
    ],
    "lab3-wrong-jump": [
        ("where it should lead", "leads_to = wrong.wanted; mistake = None", 0),
        (
            "the other mistake",
            "mistake = {'exchanged': 'not divided'}.get(mistake, 'exchanged')\n"
            "mistake = 'exchanged' if wrong.found[1] + 256 * wrong.found[2] == wrong.offset"
            " else 'not divided'\n"
            "leads_to = 0",
            0,
        ),
    ],
    "lab3-copy": [
        ("size of a pointer", "size = 8", 0),
        ("linked address", "by_cs = copy.gdt & 0xFFFF", 0),
        ("without the offset", "by_cs = copy.gdt - copy.cpuinit_start", 0),
        ("the segment's base", "linear = copy.apinit_addr - copy.APINIT_OFFSET", 0),
        (
            "offset twice",
            "linear = copy.gdt - copy.cpuinit_start + copy.apinit_addr + copy.APINIT_OFFSET",
            0,
        ),
    ],
    "lab3-icr": [
        ("the address for the vector", "startup_all = 0xC4600 | icr.code & 0xFF", 0),
        ("to everybody", "startup_all = 0x84600 | icr.code >> 12", 0),
        ("de-assert", "startup_all = 0xC0600 | icr.code >> 12", 0),
        ("with a shorthand", "init_one = icr.apic_id << 56 | 0xC4500", 0),
        ("the id at bit 32", "init_one = icr.apic_id << 32 | 0x4500", 0),
        ("NMI", "startup_one = icr.apic_id << 56 | 0x4400 | icr.code >> 12", 0),
    ],
    "lab3-icr-read": [
        ("vector times 256", "starts_at = (seen.low & 0xFF) << 8", 0),
        (
            "the other shorthand",
            "reached = [1, 2, 3] if seen.low >> 18 == 2 else [0, 1, 2, 3]",
            0,
        ),
        ("nobody", "reached = []", 0),
    ],
    "lab3-descriptor": [
        ("24 bits of base", "base = descriptor.descriptor >> 16 & 0xFFFFFF", 0),
        ("16 bits of limit", "last = descriptor.descriptor & 0xFFFF", 0),
        ("flat", "mine = 0x00CF9B000000FFFF", 1),
        (
            "64-bit code",
            "b = descriptor.my_base\n"
            "mine = 0x00AF9B000000FFFF | (b & 0xFFFFFF) << 16 | b >> 24 << 56",
            1,
        ),
        (
            "data",
            "b = descriptor.my_base\n"
            "mine = 0x00CF93000000FFFF | (b & 0xFFFFFF) << 16 | b >> 24 << 56",
            1,
        ),
        ("base in one piece", "mine = 0x00CF9B000000FFFF | descriptor.my_base << 16", 1),
    ],
    "lab3-gdtr": [
        (
            "the size for the limit",
            "six = (8 * table.entries).to_bytes(2, 'little') + table.at.to_bytes(4, 'little')",
            1,
        ),
        (
            "base first",
            "six = table.at.to_bytes(4, 'little') + (8 * table.entries - 1).to_bytes(2, 'little')",
            0,
        ),
        ("the number for the selector", "selector = table.entry", 0),
    ],
    "lab3-modes": [
        ("all real", "modes = ['real'] * 3", 0),
        (
            "LME is enough",
            "modes = ['long' if one['EFER'] & 0x100 else 'protected' if one['CR0'] & 1 else 'real'"
            " for one in (states.ap1, states.ap2, states.ap3)]",
            1,
        ),
        (
            "another one",
            "missing = {'PAE': 'LME', 'LME': 'CR3', 'CR3': 'PAE'}["
            "'PAE' if not states.dying['CR4'] else 'LME' if not states.dying['EFER'] else 'CR3']",
            0,
        ),
    ],
    "lab3-paging": [
        (
            "4 KiB pages",
            "indices = [paging.alias >> 30 & 511, paging.alias >> 21 & 511,"
            " paging.alias >> 12 & 511]",
            0,
        ),
        ("not a large page", "entry = paging.address & ~0x1FFFFF | 3", 1),
        ("read only", "entry = paging.address & ~0x1FFFFF | 0x81", 1),
        ("the address itself", "entry = paging.address | 0x83", 1),
        ("no caching", "entry = paging.address & ~0x1FFFFF | 0x93", 1),
    ],
    "lab3-count": [
        ("not locked", "count = worksheet.assemble(f'inc dword ptr cs:[{counting.procs}]', 16)", 2),
        ("by DS", "count = worksheet.assemble(f'lock inc dword ptr [{counting.procs}]', 16)", 0),
        (
            "one byte",
            "count = worksheet.assemble(f'lock inc byte ptr cs:[{counting.procs}]', 16)",
            0,
        ),
        (
            "two bytes",
            "count = worksheet.assemble(f'lock inc word ptr cs:[{counting.procs}]', 16)",
            0,
        ),
        (
            "the next place",
            "count = worksheet.assemble(f'lock inc dword ptr cs:[{counting.procs + 4}]', 16)",
            0,
        ),
        ("down", "count = worksheet.assemble(f'lock dec dword ptr cs:[{counting.procs}]', 16)", 0),
        ("64-bit code", "count = worksheet.assemble('lock inc dword ptr [rdi]', 64)", 0),
    ],
    # ---- lab 4
    "lab4-lost": [
        ("nothing lost", "plain = lost.start + 6", 0),
        ("from 0", "guarded = 6", 0),
    ],
    "lab4-schedule": [
        ("one after another", "schedule = [c for c in losing.cpus for _ in range(6)]", 0),
        ("too few", "schedule = losing.cpus * 5", 0),
        ("one CPU alone", "schedule = [losing.cpus[0]] * 18", 0),
    ],
    "lab4-inside": [
        ("everybody", "inside_t = sorted({*locks.schedule}); inside_x = inside_t", 2),
        ("nobody", "inside_t = []; inside_x = []", 0),
        ("the first in the list", "inside_x = [locks.schedule[-1], 99]", 0),
    ],
    "lab4-atomic": [
        ("all", "atomic = [0, 1, 2, 3, 4]", 0),
        ("none", "atomic = []", 0),
        (
            "the prefix only",
            "atomic = [n for n, c in enumerate(instructions.codes) if c[0] != 0xF0]",
            0,
        ),
    ],
    "lab4-take": [
        (
            "test, then set",
            PLACE + "take = worksheet.assemble(f'again: cmp byte ptr {place}, 0; jne again;"
            " mov byte ptr {place}, 1', 64)",
            2,
        ),
        (
            "bts without lock",
            PLACE + "take = worksheet.assemble(f'again: bts dword ptr {place}, 0; jc again', 64)",
            2,
        ),
        (
            "no look at the result",
            PLACE + "take = worksheet.assemble(f'mov al, 1; xchg byte ptr {place}, al', 64)",
            1,
        ),
        (
            "exchanged with 0",
            PLACE + "take = worksheet.assemble(f'again: mov al, 0; xchg {place}, al;"
            " test al, al; jnz again', 64)",
            0,
        ),
        (
            "waits for 1",
            PLACE + "take = worksheet.assemble(f'again: mov al, 1; xchg {place}, al;"
            " test al, al; jz again', 64)",
            1,
        ),
        (
            "gives up",
            PLACE + "take = worksheet.assemble(f'mov al, 1; xchg {place}, al; test al, al;"
            " jz inside; hlt; inside:', 64)",
            1,
        ),
        (
            "a stack",
            PLACE + "take = worksheet.assemble(f'again: push rax; pop rax; lock bts dword ptr"
            " {place}, 0; jc again', 64)",
            0,
        ),
        ("does nothing", "take = b'\\x90'", 0),
    ],
    "lab4-numbers": [
        ("the APIC id", "number = numbers.who", 0),
        ("from 0", "number = numbers.counted.index(numbers.who)", 0),
        ("the end", "stackaddr = max(numbers.allocated) + 0x4000", 0),
        ("one's own", "stale = numbers.allocated[numbers.took_lock.index(numbers.who)]", 0),
        ("the first one's", "stale = numbers.allocated[0]", 0),
    ],
    "lab4-wait": [
        ("the last look", "too_early = len(waiting.looks) - 1", 0),
        ("processors without the BSP", "in_time = len(waiting.looks)", 0),
        ("microseconds", "sleeps = waiting.wait_us", 0),
    ],
    "lab4-barrier": [
        ("never a round", "id_after = barrier.sync_id; count_after = 99", 0),
        ("all inside", "inside = sorted({*barrier.schedule}) + [0]", 0),
    ],
    "lab4-broken-barrier": [
        ("nobody", "inside_broken = [0]; count_broken = 3", 0),
        ("all", "inside_broken = sorted({*broken.schedule})", 0),
        ("a right barrier", "inside_broken = broken.schedule[-1:] + [99]", 0),
    ],
    # ---- lab 5
    "lab5-reached": [
        ("all others", "reached = sorted(reaching.ids[1:]); twice = []", 0),
        (
            "every IPI",
            "reached = sorted({h >> 24 for h, l in reaching.writes if not l & 0xC0000})",
            0,
        ),
        ("nobody", "reached = []; twice = []", 0),
    ],
    "lab5-gaps": [
        ("no gaps", "highest = machine.packages * machine.cores - 1; forgotten = []", 0),
        (
            "one bit too many",
            "highest = ((machine.packages - 1) << (machine.cores.bit_length() + 1))"
            " + machine.cores - 1",
            0,
        ),
    ],
    "lab5-frame": [
        ("not rounded down", "rip_at = interrupted.rsp - 41; rsp_at = interrupted.rsp - 17", 0),
        ("an error code", "rip_at = (interrupted.rsp & ~15) - 48", 0),
        ("not aligned before the call", "inside = (interrupted.rsp & ~15) - 128", 0),
    ],
    "lab5-lock": [
        ("every step prints", "lines = len(printing.schedule)", 0),
        ("no such CPU", "holder = 1000; tried = [1000]", 0),
    ],
    "lab5-send": [
        (
            "low half first",
            "send = worksheet.assemble(f'mov dword ptr [{sending.register} + 0x300], 0x4400;"
            " mov dword ptr [{sending.register} + 0x310], {sending.to << 24}', 64)",
            0,
        ),
        (
            "id not shifted",
            "send = worksheet.assemble(f'mov dword ptr [{sending.register} + 0x310], {sending.to};"
            " mov dword ptr [{sending.register} + 0x300], 0x4400', 64)",
            1,
        ),
        (
            "vector 2",
            "send = worksheet.assemble(f'mov dword ptr [{sending.register} + 0x310],"
            " {sending.to << 24}; mov dword ptr [{sending.register} + 0x300], 0x4402', 64)",
            2,
        ),
        (
            "an ordinary interrupt",
            "send = worksheet.assemble(f'mov dword ptr [{sending.register} + 0x310],"
            " {sending.to << 24}; mov dword ptr [{sending.register} + 0x300], 0x4002', 64)",
            1,
        ),
        (
            "all others",
            "send = worksheet.assemble(f'mov dword ptr [{sending.register} + 0x310],"
            " {sending.to << 24}; mov dword ptr [{sending.register} + 0x300], 0xC4400', 64)",
            1,
        ),
        ("does nothing", "send = b'\\x90'", 0),
    ],
    # ---- lab 6
    "lab6-low": [
        ("bytes", "word_after = low.word - low.first - low.second; address = word_after * 1024", 0),
        (
            "rounded down",
            "word_after = low.word - low.first // 1024 - low.second // 1024\n"
            "address = word_after * 1024",
            0,
        ),
        ("the first call alone", "word_after = (low.word * 1024 - low.first) // 1024", 0),
        ("an address in KiB", "address = (low.word * 1024 - low.first - low.second) // 1024", 0),
    ],
    "lab6-maps": [
        ("everything below 1 GiB", "faults = [n for n, one in enumerate(maps.looks)]", 0),
        ("the firmware's", "faults = [n for n, one in enumerate(maps.looks) if one[0] != 'ap']", 1),
        ("nothing", "faults = []", 1),
    ],
    "lab6-stack": [
        ("not aligned", "at_call = stack.rsp - 32; in_function = at_call - 8", 0),
        ("no room", "at_call = stack.rsp & ~15; in_function = at_call - 8", 0),
        ("room below the return address", "fourth = (stack.rsp & ~15) - 48", 0),
        ("the first argument's place", "fourth = (stack.rsp & ~15) - 32", 0),
    ],
    "lab6-registers": [
        (
            "as they are",
            "rcx, r8, r9 = registers.rcx, registers.r8, registers.r9; called = registers.rax",
            0,
        ),
        (
            "the function first",
            "rcx, rdx, r8, r9 = registers.rdi, registers.rsi, registers.rdx, registers.rcx",
            0,
        ),
        ("c overwritten by a", "rcx, r8 = registers.rsi, registers.rsi", 1),
    ],
    "lab6-place": [
        ("as given", "place = far.memory; segment = place >> 4", 0),
        ("the whole offset", "place = far.memory + far.offset", 0),
        ("without the offset", "place = far.memory + far.offset % 16; segment = place >> 4", 1),
    ],
    # ---- lab 7
    "lab7-begin": [
        ("the selector as the base", "base = start.cs; begins_at = start.cs + start.ip", 1),
        ("times 10", "base = 10 * start.cs; begins_at = base + start.ip", 1),
        ("without RIP", "begins_at = 16 * start.cs", 2),
        ("without the selector", "without_base = start.ip", 2),
    ],
    "lab7-ioio": [
        ("all of the upper bits", "port = left.info1 >> 8", 2),
        ("bits instead of bytes", "size = 8 * (left.info1 >> 4 & 7)", 2),
        ("the other way round", "reads = not left.info1 & 1", 2),
    ],
    "lab7-iopm": [
        ("a byte for each port", "byte_at = map_of.iopm + map_of.port; mask = 1", 0),
        ("bits from the top", "mask = 0x80 >> map_of.port % 8", 1),
        ("the number of the bit", "mask = map_of.port % 8", 1),
    ],
    "lab7-in": [
        ("zero extended", "after_8 = asked.value & 0xFF; after_16 = asked.value & 0xFFFF", 1),
        ("the upper half is kept", "after_32 = asked.rax & ~0xFFFFFFFF | asked.value", 2),
        ("all of it", "after_8 = after_16 = asked.value", 1),
    ],
    "lab7-owners": [
        ("all by the processor", "owners = ['vmrun'] * 7", 0),
        ("all by code", "owners = ['code'] * 7", 0),
        (
            "segments by VMRUN",
            "owners = ['vmload' if one[0] in 'SK' else 'code' if one[0] == 'R' and one not in"
            " ('RAX', 'RSP') else 'vmrun' for one in crossing.registers]",
            1,
        ),
    ],
    # ---- lab 8
    "lab8-walk": [
        ("numbers of entries as bytes", "pde_at = walk.pd + (walk.gpa >> 21 & 511)", 0),
        ("all bits of the address", "pde_at = walk.pd + 8 * (walk.gpa >> 12 & 511)", 0),
        ("a page of 2 MiB", "leads_to = walk.pte & ~0xFFF | walk.gpa & 0x1FFFFF", 0),
        ("the entry as it is", "leads_to = walk.pte + (walk.gpa & 0xFFF)", 0),
        ("identity", "leads_to = walk.gpa", 0),
    ],
    "lab8-rights": [
        (
            "the last entry alone",
            "may = [{7: 'write', 5: 'read'}.get(way[2] & 7, 'nothing') for way in rights.ways]",
            0,
        ),
        (
            "the kernel is no user",
            "may = ['nothing' if not all(e & 1 for e in way) else 'write'"
            " if all(e & 2 for e in way) else 'read' for way in rights.ways]",
            1,
        ),
        ("everything", "may = ['write'] * 7", 0),
        (
            "one level is enough",
            "may = ['write' if any(e & 2 for e in way) else 'nothing' for way in rights.ways]",
            0,
        ),
    ],
    "lab8-hide": [
        ("rounded down", "pages = (vmm.end // 4096) - (vmm.start // 4096)", 0),
        ("whatever is touched", "whole = (vmm.end >> 21) - (vmm.start >> 21) + 1", 0),
        ("none has to be split", "split = []", 0),
        ("the edges themselves", "split = [vmm.start & ~0xFFF, vmm.end & ~0xFFF]", 0),
    ],
    "lab8-maps": [
        (
            "the first call counts",
            "leads = [next((c[1] + a - c[0] if c[3] else 0 for c in maps.calls"
            " if 0 <= a - c[0] < c[2]), a) for a in maps.addresses]",
            0,
        ),
        ("nothing has changed", "leads = writes = list(maps.addresses)", 0),
        ("everything else is hidden", "leads = [0] * 7; writes = []", 0),
        (
            "present means writable",
            "writes = [a for a in maps.addresses if not maps.calls[1][0] <= a < maps.calls[2][0]]",
            0,
        ),
    ],
    "lab8-faults": [
        (
            "bit 1 first",
            "kinds = ['write' if a & 2 else 'fetch' if a & 16 else 'read'"
            " for a, _ in faults.infos]",
            1,
        ),
        (
            "no table of the guest",
            "kinds = ['fetch' if a & 16 else 'write' if a & 2 else 'read'"
            " for a, _ in faults.infos]",
            1,
        ),
        ("present means allowed", "protected = [b for a, b in faults.infos if not a & 1]", 0),
        (
            "those of the APIC",
            "protected = [b for _, b in faults.infos if b >> 12 == 0xFEE00] + [0]",
            0,
        ),
    ],
    # ---- lab 9
    "lab9-icr": [
        ("all but self with self", "second = list(ipi.ids); third = list(ipi.ids)", 2),
        ("logical ids are APIC ids", "third = [ipi.high >> 24]", 2),
        ("the sender", "first = [ipi.sender]", 3),
        ("nobody", "first = []; second = []", 1),
    ],
    "lab9-sipi": [
        ("the vector", "cs = sipi.low & 0xFF; address = cs << 4", 1),
        ("the vector in IP", "cs = 0; ip = (sipi.low & 0xF) << 12", 1),
        ("the base as the selector", "cs = (sipi.low & 0xF) << 12", 2),
    ],
    "lab9-states": [
        ("the last SIPI counts", "begins = [one for one in signals.come if one < 0x100]", 1),
        ("never begins", "begins = []", 1),
    ],
    "lab9-decode": [
        ("high byte first", "value = int.from_bytes(bytes.fromhex(mov.code)[6:10], 'big')", 2),
        ("without the constant", "length = 6", 2),
        ("all the bytes", "length = 11", 2),
    ],
    # ---- lab 10
    "lab10-frame": [
        ("from the end", "rip, rsi, r12 = frame.words[0], frame.words[4], frame.words[5]", 0),
        ("at the frame", "rsp = frame.rsp", 0),
        ("at the return address", "rsp = frame.rsp + 9 * 8", 0),
        ("a word too far", "rip = frame.words[10]; rsp = frame.rsp + 11 * 8", 0),
    ],
    "lab10-segment": [
        ("16 bits", "attr = gdt.entry >> 40 & 0xFFFF; limit = gdt.entry & 0xFFFFF", 0),
        ("in pages", "limit = (gdt.entry & 0xFFFF) | (gdt.entry >> 48 & 0xF) << 16", 0),
        (
            "without the last page",
            "limit = (gdt.entry & 0xFFFF | gdt.entry >> 32 & 0xF0000) << 12",
            0,
        ),
    ],
    "lab10-barriers": [
        ("the BSP counts for all", "alone = (meet.rounds + meet.barriers) * (meet.aps + 1)", 0),
        ("once", "finally_ = meet.rounds + meet.barriers", 0),
        ("without the first time", "calls = (meet.rounds + meet.barriers) * (meet.aps + 1)", 0),
    ],
    "lab10-icr": [
        ("the first element", "started = 0; reach = list(range(len(log.sent)))", 0),
        (
            "all of the guest's",
            "reach = [n for n, one in enumerate(log.sent) if one[0] == 'guest']",
            0,
        ),
        ("at SIPI", "started = log.sent.index(('guest', 'SIPI'))", 0),
    ],
}
"""A maximum of 0 may be exceeded where chance makes a wrong method right: `test_questions`."""

RIGHT: dict[str, list[tuple[str, str]]] = {
    "lab2-switch": [
        (
            "other instructions",
            "switch = worksheet.assemble(f'lea rsp, [{registers.new_rsp}]; mov ebp, 0;"
            " jmp {registers.jmpto}', 64)",
        ),
        (
            "AT&T",
            "switch = worksheet.assemble(f'movq %{registers.new_rsp}, %rsp; xorq %rbp, %rbp\\n"
            "jmp *%{registers.jmpto}', 64, att=True)",
        ),
    ],
    "lab3-icr": [
        (
            "as it reads while being sent",
            "startup_all = 0xC5600 | icr.code >> 12; init_one = icr.apic_id << 56 | 0x4500"
            "; startup_one = icr.apic_id << 56 | 0x4600 | icr.code // 4096",
        )
    ],
    "lab3-descriptor": [
        (
            "not accessed, a bit for software",
            "w = descriptor.descriptor\n"
            "base = w >> 16 & 0xFFFFFF | w >> 56 << 24\n"
            "last = w & 0xFFFF | (w >> 48 & 0xF) << 16\n"
            "last = last << 12 | 0xFFF if w >> 55 & 1 else last\n"
            "b = descriptor.my_base\n"
            "mine = 0x00DF9A000000FFFF | (b & 0xFFFFFF) << 16 | b >> 24 << 56",
        )
    ],
    "lab3-paging": [
        (
            "accessed, dirty and global",
            "indices = [0, 1, paging.alias >> 21 & 511]\n"
            "entry = paging.address & ~0x1FFFFF | 0x1E3",
        )
    ],
    "lab3-count": [
        (
            "add",
            "count = worksheet.assemble(f'lock add dword ptr cs:[{counting.procs}], 1', 16)",
        ),
        ("by hand", "count = b'\\xf0\\x2e\\x66\\xff\\x06' + counting.procs.to_bytes(2, 'little')"),
        (
            "prefixes in another order",
            "count = b'\\x66\\x2e\\xf0\\xff\\x06' + counting.procs.to_bytes(2, 'little')",
        ),
        (
            "subtract minus one",
            "count = worksheet.assemble(f'lock sub dword ptr cs:[{counting.procs}], -1', 16)",
        ),
    ],
    "lab4-take": [
        (
            "a pause that grows",
            PLACE + "take = worksheet.assemble(f'mov edi, 8; again: lock bts dword ptr {place}, 0;"
            " jnc inside; mov eax, edi; wait: pause; dec eax; jnz wait; add edi, edi;"
            " and edi, 255; or edi, 8; jmp again; inside:', 64)",
        ),
        (
            "bts",
            PLACE + "take = worksheet.assemble(f'again: pause; lock bts dword ptr {place}, 0;"
            " jc again', 64)",
        ),
        (
            "compare and exchange",
            PLACE + "take = worksheet.assemble(f'mov edi, 1; again: xor eax, eax;"
            " lock cmpxchg byte ptr {place}, dil; jne again', 64)",
        ),
    ],
}
