"""Looks into another process, or moves it in time: by ptrace, on Linux (x86-64 or AArch64), as root.

tracer.py scan [--stdin FILE] [--end SECONDS] [--without-environment] COMMAND [ARGUMENT]...
    Runs the command, and stops it as it exits, whatever the way: all that it ever freed or forgot is still in its
    memory then. Searches all that it could write to for the needles, of which standard input has one a line: a name
    and the bytes in hex. Eight bytes of a needle in a row are a hit. Prints a line of JSON for each needle, and one for
    the command. After so many seconds it is sent SIGTERM.

tracer.py suspend PID NAMESPACE
    Makes a running process of one thread join a time namespace, which is a file: it calls openat, setns and close
    without knowing. It then finds its boot clock where the namespace has it, as after a suspend. What it waits for, it
    waits for again: a system call that was interrupted is restarted.
"""

import bisect, ctypes, json, os, platform, re, signal, struct, sys

TRACEME, CONT, SINGLESTEP, DETACH = 0, 7, 9, 17
SETOPTIONS, GETREGSET, SETREGSET, SEIZE, INTERRUPT = 0x4200, 0x4204, 0x4205, 0x4206, 0x4207
TRACE_CLONE, TRACE_EXEC, TRACE_EXIT, EXIT_KILL = 0x8, 0x10, 0x40, 0x100000
EVENT_EXIT = 6
NT_PRSTATUS, NT_ARM_SYSTEM_CALL = 1, 0x404
WALL = 0x40000000  # waitpid: threads too
NEWTIME = 0x80
LONGEST = 120  # seconds; nothing here takes so long

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request, pid=0, address=0, data=0):
    ctypes.set_errno(0)
    if libc.ptrace(request, pid, address, data) == -1 and ctypes.get_errno() != 0:
        raise OSError(ctypes.get_errno(), "ptrace: " + os.strerror(ctypes.get_errno()))


# scan


def start(command, stdin, outputs):
    pid = os.fork()
    if pid == 0:
        try:
            for number, file in enumerate([stdin, *outputs]):
                os.dup2(file, number)
            ptrace(TRACEME)
            os.execvp(command[0], command)
        finally:
            os._exit(127)
    _, status = os.waitpid(pid, WALL)
    if not os.WIFSTOPPED(status):
        sys.exit(f"{command[0]}: it cannot be started")
    ptrace(SETOPTIONS, pid, 0, TRACE_CLONE | TRACE_EXEC | TRACE_EXIT | EXIT_KILL)
    return pid


def run(pid, at_exit):
    """Lets the process run to its end, and returns how it ended."""
    threads = {pid}
    ptrace(CONT, pid)
    while True:
        tid, status = os.waitpid(-1, WALL)
        if not os.WIFSTOPPED(status):
            if tid == pid:
                return os.waitstatus_to_exitcode(status)
            continue
        number, event = os.WSTOPSIG(status), status >> 16
        # A new thread begins with a stop; all other signals are for the process.
        is_ours = event != 0 or (number == signal.SIGSTOP and tid not in threads)
        threads.add(tid)
        # Other threads end before the first one does, and the memory ends with it.
        if event == EVENT_EXIT and tid == pid:
            at_exit()
        ptrace(CONT, tid, 0, 0 if is_ours else number)


def environment(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[50 - 3]), int(fields[51 - 3])


def writable(pid):
    """Start, end and name of the mappings."""
    with open(f"/proc/{pid}/maps") as file:
        for line in file:
            place, permissions, *_, name = (line.rstrip("\n") + " ").split(" ", 5)
            if permissions.startswith("rw"):
                start, end = (int(number, 16) for number in place.split("-"))
                yield start, end, name.strip() or "anonymous"


def search(pid, needles, without):
    """The places of each needle, and how many bytes were searched."""
    pieces, places, size, at = [], [], 0, 0
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    for start, end, name in writable(pid):
        data = bytearray()
        while start + len(data) < end:
            data += os.pread(memory, end - start - len(data), start + len(data))
        size += len(data)
        low, high = (min(max(border, start), end) - start for border in without)
        data[low:high] = bytes(high - low)
        # Most of it is zeroes, which no needle has.
        for piece in re.finditer(rb"[^\0]{4,}", data):
            places.append((at, start + piece.start(), name))
            pieces.append(piece.group())
            at += len(piece.group()) + 1
    text = b"\0".join(pieces)

    def describe(found, offset, length):
        at, address, name = places[bisect.bisect_right(places, found, key=lambda place: place[0]) - 1]
        return f"{name} at {address + found - at:#x}: {length} bytes, from byte {offset}"

    return {name: [describe(*run) for run in runs(text, needle)] for name, needle in needles}, size


def runs(text, needle, width=8):
    """Where in the text a part of the needle stands: as place, place in the needle, and length."""
    width = min(width, len(needle))
    parts = {}
    for offset in range(len(needle) - width + 1):
        found = text.find(needle[offset : offset + width])
        while found >= 0:
            parts.setdefault(found - offset, []).append(found)
            found = text.find(needle[offset : offset + width], found + 1)
    for base, found in sorted(parts.items()):
        first = last = found[0]
        for place in [*found[1:], None]:
            if place != last + 1:
                yield first, first - base, last + width - first
                first = place
            last = place


def scan(arguments):
    stdin, end, has_environment = os.devnull, 0.0, True
    while arguments[0].startswith("--"):
        option = arguments.pop(0)
        if option == "--stdin":
            stdin = arguments.pop(0)
        elif option == "--end":
            end = float(arguments.pop(0))
        elif option == "--without-environment":
            has_environment = False
        else:
            sys.exit(__doc__)
    lines = (line.split() for line in sys.stdin)
    needles = [(name, bytes.fromhex(digits)) for name, digits in lines]
    outputs = [os.memfd_create(name) for name in ("stdout", "stderr")]
    pid = start(arguments, os.open(stdin, os.O_RDONLY), outputs)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, end or LONGEST)
    found = []
    code = run(pid, lambda: found.append(search(pid, needles, (0, 0) if has_environment else environment(pid))))
    if not found:
        sys.exit(f"{arguments[0]}: it was not seen to exit")
    hits, size = found[0]
    for name, places in hits.items():
        print(json.dumps({"needle": name, "places": places}))
    stdout, stderr = (os.pread(file, 1 << 20, 0).decode(errors="replace") for file in outputs)
    print(json.dumps({"code": code, "stdout": stdout, "stderr": stderr, "searched": size}))


# suspend


class X86:
    """struct user_regs_struct, as 64-bit words."""

    size, result, number, restart, ip, sp = 27, 10, 10, 15, 16, 19
    arguments = [14, 13, 12, 7]  # rdi, rsi, rdx, r10
    instruction, step = b"\x0f\x05", 1  # syscall
    openat, setns, close = 257, 308, 3
    red_zone = 128


class Arm:
    """struct user_pt_regs, as 64-bit words."""

    size, result, number, restart, ip, sp = 34, 0, 8, None, 32, 31
    arguments = [0, 1, 2, 3]
    instruction, step = b"\x01\x00\x00\xd4", 4  # svc #0
    openat, setns, close = 56, 268, 57
    red_zone = 0


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def register_set(request, pid, kind, data):
    buffer = ctypes.create_string_buffer(data, len(data))
    vector = Vector(ctypes.addressof(buffer), len(data))
    ptrace(request, pid, kind, ctypes.addressof(vector))
    return buffer.raw[: vector.length]


class Puppet:
    """A stopped process that makes the system calls that it is told to."""

    def __init__(self, pid):
        self.pid, self.signals = pid, []
        self.machine = {"x86_64": X86, "aarch64": Arm}[platform.machine()]
        ptrace(SEIZE, pid, 0, 0)
        ptrace(INTERRUPT, pid)
        self.wait()
        self.memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
        self.saved = self.registers()
        self.gate = self.find_gate()

    def wait(self):
        _, status = os.waitpid(self.pid, WALL)
        if not os.WIFSTOPPED(status):
            sys.exit("it ended")
        return os.WSTOPSIG(status), status >> 16

    def registers(self):
        size = 8 * self.machine.size
        return list(struct.unpack(f"<{self.machine.size}Q", register_set(GETREGSET, self.pid, NT_PRSTATUS, bytes(size))))

    def set_registers(self, registers):
        register_set(SETREGSET, self.pid, NT_PRSTATUS, struct.pack(f"<{self.machine.size}Q", *registers))

    def find_gate(self):
        """The address of an instruction that calls the system. The kernel's own page has one, and the C library."""
        with open(f"/proc/{self.pid}/maps") as file:
            lines = [line.split() for line in file]
        for line in sorted((line for line in lines if "x" in line[1]), key=lambda line: line[-1] != "[vdso]"):
            start, end = (int(number, 16) for number in line[0].split("-"))
            try:
                code = os.pread(self.memory, end - start, start)
            except OSError:
                continue  # [vsyscall] is not to be read
            found = code.find(self.machine.instruction)
            while found >= 0:
                if found % self.machine.step == 0:
                    return start + found
                found = code.find(self.machine.instruction, found + 1)
        sys.exit("there is no instruction that calls the system")

    def call(self, number, *arguments):
        machine, registers = self.machine, list(self.saved)
        registers[machine.number] = number
        for index, argument in zip(machine.arguments, arguments):
            registers[index] = argument & (1 << 64) - 1
        registers[machine.ip] = self.gate
        # The call that was interrupted is not to be restarted now, but when the registers are back.
        if machine.restart is None:
            self.set_registers(registers)
            register_set(SETREGSET, self.pid, NT_ARM_SYSTEM_CALL, struct.pack("<i", -1))
        else:
            registers[machine.restart] = (1 << 64) - 1
            self.set_registers(registers)
        while True:
            # This stop is one in which a signal is delivered: leaving it, the kernel looks for a call to restart.
            ptrace(SINGLESTEP, self.pid)
            stop, event = self.wait()
            if stop == signal.SIGTRAP and event == 0:
                break
            if event == 0:
                self.signals.append(stop)
        result = self.registers()[machine.result]
        result -= (result >> 63) << 64
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        return result

    def let_go(self):
        self.set_registers(self.saved)
        ptrace(DETACH, self.pid, 0, 0)
        for number in self.signals:
            os.kill(self.pid, number)


def suspend(pid, namespace):
    puppet = Puppet(pid)
    try:
        machine, path = puppet.machine, os.fsencode(namespace) + b"\0"
        place = puppet.saved[machine.sp] - machine.red_zone - len(path) & ~15
        kept = os.pread(puppet.memory, len(path), place)
        os.pwrite(puppet.memory, path, place)
        try:
            file = puppet.call(machine.openat, -100, place, os.O_RDONLY | os.O_CLOEXEC, 0)
            try:
                puppet.call(machine.setns, file, NEWTIME)
            finally:
                puppet.call(machine.close, file)
        finally:
            os.pwrite(puppet.memory, kept, place)
    finally:
        puppet.let_go()


def main(arguments):
    # Dies of it, and the traced process with it.
    signal.alarm(LONGEST)
    match arguments:
        case ["scan", _, *_]:
            scan(arguments[1:])
        case ["suspend", pid, namespace]:
            suspend(int(pid), namespace)
        case _:
            sys.exit(__doc__)


main(sys.argv[1:])
