"""Thefts: what the Python of a revision may try to take from the process that runs it and from the machine.

All of it is one revision, which tests/integration/test_sandbox.py runs in each way of confining; a row names the line
that tries it."""

from __future__ import annotations

from attacks.model import Attack, Group

THEFT = r"""
    import ctypes, glob, os, signal, socket, stat, struct
    needles = [text[::-1].encode() for text in NEEDLES]
    libc, us, them, uid = ctypes.CDLL(None, use_errno=True), os.getpid(), os.getppid(), os.getuid()
    between, them = them, int(open(f"/proc/{them}/stat").read().rpartition(")")[2].split()[1])
    stolen, written, touched, tried = [], [], [], 0

    def look(name):
        nonlocal tried
        tried += 1
        try:
            with open(name, "rb", buffering=0) as file:
                data = file.read(1 << 20)
        except OSError:
            return
        if any(needle in data for needle in needles):
            stolen.append(name)

    for name in ("environ", "cmdline", "task/*/environ", "fd/*", "cwd/.env", "root" + FOLDER + "/.env", "map_files/*"):
        for found in glob.glob(f"/proc/[0-9]*/{name}"):
            if not found.startswith(f"/proc/{us}/"):
                look(found)
        look(f"/proc/{them}/{name}")
    for name in (".env", "home/.aws/credentials", "migrations/pears/key", "store/*/*/*", "temporary/../.env"):
        for found in glob.glob(f"{FOLDER}/{name}") or [f"{FOLDER}/{name}"]:
            look(found)
            if "store" in found and os.access(found, os.R_OK):
                stolen.append(found)
    os.symlink(FOLDER + "/.env", os.environ["TMPDIR"] + "/link")
    look(os.environ["TMPDIR"] + "/link")
    try:
        os.link(FOLDER + "/.env", os.environ["TMPDIR"] + "/hard")
        look(os.environ["TMPDIR"] + "/hard")
    except OSError:
        pass

    def memory(of):
        try:
            areas = [line.split() for line in open(f"/proc/{of}/maps")]
        except OSError:
            return
        for area in areas:
            if area[1].startswith("rw"):
                touched.append(f"maps of {of}")
                return
    memory(them)
    memory(between)
    for name in ("mem", "maps", "auxv", "stack", "syscall", "wchan_", "personality", "pagemap"):
        try:
            with open(f"/proc/{them}/{name}", "rb") as file:
                file.read(1)
            touched.append(name)
        except OSError:
            pass
    try:
        os.readlink(f"/proc/{them}/cwd")
        os.readlink(f"/proc/{them}/fd/0")
        touched.append("links")
    except OSError:
        pass
    for request, what in ((16, "ptrace attach"), (0x4206, "ptrace seize")):
        if libc.ptrace(request, them, 0, 0) == 0:
            touched.append(what)
            libc.ptrace(17, them, 0, 0)
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("PN", ctypes.addressof(buffer), 8)
    if libc.process_vm_readv(them, vector, 1, vector, 1, 0) >= 0 or ctypes.get_errno() == 14:
        touched.append("process_vm_readv")
    handle = libc.syscall(434, them, 0)
    for number in range(30):
        if handle >= 0 and libc.syscall(438, handle, number, 0) >= 0:
            touched.append(f"file {number} of the parent")
    if SIGNALS:
        for sent in (0, signal.SIGSTOP, signal.SIGTERM, signal.SIGKILL):
            try:
                os.kill(them, sent)
                touched.append(f"signal {sent}")
            except PermissionError:
                pass

    number = 0 if os.uname().machine == "x86_64" else 1  # the same call has another number on aarch64
    calls = {
        "io_uring_setup": ((425, 425), 8, ctypes.create_string_buffer(120)),
        "userfaultfd": ((323, 282), 1),
        "keyctl": ((250, 219), 0, -3, 1),
        "add_key": ((248, 217), b"user", b"x", b"x", 1, -3),
        "bpf": ((321, 280), 0, ctypes.create_string_buffer(120), 120),
        "perf_event_open": ((298, 241), ctypes.create_string_buffer(120), 0, -1, -1, 0),
        "setns": ((308, 268), 0, 0),
        "mount": ((165, 40), b"none", b"/tmp", b"tmpfs", 0, 0),
        "open_tree": ((428, 428), -100, b"/tmp", 1),
        "shmget": ((29, 194), 0, 4096, 0o1600),
        "clone into a user namespace": ((56, 220), 0x10000000 | 17, 0, 0, 0, 0),
        "clone3": ((435, 435), struct.pack("8Q", 0x10000000, 0, 0, 0, 17, 0, 0, 0), 64),
        "unshare of the network": ((272, 97), 0x50000000),
        "unshare of mounts": ((272, 97), 0x10020000),
        "a time namespace": ((272, 97), 0x10000080),
        "process_vm_writev": ((311, 271), them, None, 0, None, 0, 0),
        "a call of x32": ((0x40000000 | 39, -1),),
        "prlimit of CPU": ((302, 261), them, 0, struct.pack("2Q", 1, 1), None),
        "prlimit of core files": ((302, 261), between, 4, struct.pack("2Q", 1 << 30, 1 << 30), None),
        "prlimit to look": ((302, 261), them, 4, None, ctypes.create_string_buffer(16)),
    }
    for what, (numbers, *arguments) in calls.items():
        answer = libc.syscall(numbers[number], *arguments)
        if answer == 0 and what.startswith("clone"):
            os._exit(0)
        if answer != -1:
            touched.append(what)

    for path in ("/etc/shadow", "/etc/gshadow", "/etc/sudoers", *glob.glob("/etc/ssh/*_key"), *UNLISTED):
        try:
            open(path, "rb").close()
            touched.append(path)
        except OSError:
            pass
    for address in (SOCKET, "/run/docker.sock", "/run/dbus/system_bus_socket", b"\0tenants"):
        try:
            socket.socket(socket.AF_UNIX).connect(address)
            touched.append(address)
        except ConnectionRefusedError:
            touched.append(address)
        except OSError:
            pass
    changes = [lambda: os.chmod(FOLDER + "/.env", 0o4777), lambda: os.chmod(REVISION, 0o2755)]
    if STRONG:
        changes += [lambda: os.chmod(FOLDER + "/.env", 0o666), lambda: os.utime(FOLDER + "/.env", (1, 1))]
        changes += [lambda: os.truncate(REVISION, 0), lambda: os.chown(FOLDER + "/.env", uid, uid)]
    for place, change in enumerate(changes):
        try:
            change()
            touched.append(f"change {place} of a file")
        except OSError:
            pass

    spaced = libc.unshare(0x10000000) == 0  # a namespace in which we are root
    if spaced:
        look(f"/proc/{them}/environ")
        look(FOLDER + "/.env")
    for change in (lambda: os.setuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgroups([0])):
        try:
            change()
        except OSError:
            pass
    look(f"/proc/{them}/environ")
    for line in open("/proc/self/status"):
        if line.startswith("Cap") and not spaced and "Bnd" not in line and int(line.split()[1], 16):
            touched.append(line.strip())
        if line.startswith("NoNewPrivs") and line.split()[1] != "1":
            touched.append("new privileges")
    os.chdir("/")
    inside = [FOLDER + below for below in ("", "/migrations", "/migrations/fruits", "/home", "/store")]
    for folder in [*inside, PACKAGE, "/etc", "/usr/local", "/usr/bin", "/proc/self", *SHARED]:
        try:
            with open(folder + "/loot", "w"):
                written.append(folder)
            os.unlink(folder + "/loot")
        except OSError:
            pass
    for name in (REVISION, PACKAGE + "/__init__.py"):
        try:
            open(name, "ab").close()
            written.append(name)
        except OSError:
            pass
    sockets = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            sockets += os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            pass
    if sockets > 1:
        touched.append(f"{sockets} sockets")
    here = os.environ["TMPDIR"] + "/closed/inner"
    os.makedirs(here)
    os.chmod(here, 0)
    os.chmod(os.path.dirname(here), 0)
    raise RuntimeError(f"as {uid} stolen {stolen} written {written} touched {touched} of {tried > 20}.")
"""

_UID = "a uid of this run alone, or a Landlock domain: without either, the admin's mode refuses"
_STRONG = "a uid of this run alone; the weak sandbox does not keep it"
_FILTER = "a seccomp filter"


def _row(id_: str, title: str, code: str, kept_by: str = _UID) -> Attack:
    assert code in THEFT, f"{id_}: nothing tries it"
    return Attack("theft-" + id_, title, code, kept_by, "denied", ("revision",), expects=())


GROUPS = (
    Group(
        "Secrets of the machine, and the process that runs a revision",
        (
            _row("environment", "Read the environment of other processes, and the admin's URL in it", '"environ"'),
            _row("threads", "The same of their threads", '"task/*/environ"'),
            _row("command", "Read their command lines", '"cmdline"'),
            _row("files", "Read the files that they have open", '"fd/*"'),
            _row("folder", "Read files of the folder that they are in", '"cwd/.env"'),
            _row("root", "Read files by way of their root", '"root" + FOLDER'),
            _row("mapped", "Read the files that they have mapped", '"map_files/*"'),
            _row("memory", "Read the parent's memory", '"mem"'),
            _row("maps", "Read where its memory is", "maps of {of}"),
            _row("stack", "Read its stack and what it waits in", '"stack"'),
            _row("ptrace", "Attach to the parent", "ptrace attach"),
            _row("seize", "Seize the parent without stopping it", "ptrace seize"),
            _row("process-vm", "Read its memory in one call", "process_vm_readv"),
            _row("pidfd", "Take over its open files", "file {number} of the parent"),
            _row("signals", "Stop or kill the parent", "signal.SIGSTOP, signal.SIGTERM", _UID + "; Landlock's ABI 6"),
            _row("namespace", "Become root in a namespace of its own, and look again", "unshare(0x10000000)", _FILTER),
            _row("clone", "The same by clone, and by clone3, whose flags a filter cannot see", '"clone3"', _FILTER),
            _row("spaces", "Make namespaces of the network, of mounts, of time", '"a time namespace"', _FILTER),
            _row("mounts", "Mount a file system, or copy one that is mounted", '"open_tree"', _FILTER),
            _row("prlimit", "Kill the parent by a limit of its time, or make it dump core", "prlimit of", _FILTER),
            _row("unix-sockets", "Connect to sockets of Docker, an ssh-agent, D-Bus", "(address)", _FILTER),
            _row("setuid-file", "Make a file setuid that belongs to the same user", "0o4777", _FILTER),
            _row("file-modes", "Change mode, owner, times or length of such a file", "os.utime(", _STRONG),
            _row("io-uring", "Go past a filter by io_uring", '"io_uring_setup"', _FILTER),
            _row("x32", "Go past it by another calling convention", '"a call of x32"', _FILTER),
            _row("userfaultfd", "Hold up the kernel by userfaultfd", '"userfaultfd"', _FILTER),
            _row("keys", "Read and write the kernel's keyrings", '"keyctl"', _FILTER),
            _row("bpf", "Load programs into the kernel, and measure others", '"perf_event_open"', _FILTER),
            _row("shared-memory", "Leave shared memory behind", '"shmget"', _FILTER),
            _row("passwords", "Read the passwords of the machine and SSH's host keys", '"/etc/shadow"', _UID),
            _row("etc", "Read files of /etc that are not on the list", "*UNLISTED", "a Landlock domain"),
            _row("setuid", "Become root by setuid", "os.setuid(0)", "no capability is left, and no new privileges"),
            _row("credentials", "Read the storage's credentials", "home/.aws/credentials"),
            _row("dotenv", "Read a secret in the folder of the control repository", '".env"'),
            _row("projects", "Read the folder of another project", "migrations/pears/key"),
            _row("store", "Read snapshots of others", "store/*/*/*"),
            _row("symlink", "Read through a symbolic link that it made", "os.symlink("),
            _row("hardlink", "Read through a hard link that it made", "os.link("),
            _row("write", "Write into folders of the machine and of the repository", '"/loot", "w"'),
            _row("write-code", "Change its own revision, or this program", '"/__init__.py"'),
            _row("sockets", "Use the connections that the parent has open", "sockets"),
        ),
    ),
)
