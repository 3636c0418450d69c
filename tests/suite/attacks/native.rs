//! Section 4.6: what holds where the engine does not. A worker that differs from ours by one import
//! (`tests/hostile`) makes the guest's system calls natively, with whatever numbers it likes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use libc::c_long;
use serde_json::Value;

use crate::support::aril_path;
use crate::support::root;
use crate::support::skip;
use crate::support::wait_until;
use crate::support::worker_of;

/// A user who owns nothing but the attacked host's tree.
const ORDINARY: u32 = 12_345;

/// The program with the hole, beside the `aril` that has none.
fn hostile_path() -> Option<PathBuf> {
    let path = aril_path().with_file_name("hostile");
    if path.is_file() {
        return Some(path);
    }
    skip("`hostile` is not there; `tests/run` builds it, with a feature that nothing else has");
    None
}

/// Who attacks, and what of the walls that user does not get.
#[derive(Clone, Copy, Debug)]
struct Attacker {
    user: u32,
    without: &'static [&'static str],
}

impl Attacker {
    /// Whether paths end at the grants: not where an ordinary user gets no namespace.
    fn is_secluded(self) -> bool {
        self.user == 0 || !self.without.contains(&"users")
    }
}

/// Root and an ordinary user, with namespaces of users and without, on top of what is left out.
fn attackers() -> Vec<Attacker> {
    if !rustix::process::geteuid().is_root() {
        skip("only root can be other users as well");
        return Vec::new();
    }
    let withouts: [&[&str]; 2] = [&[], &["users"]];
    let both = |user| withouts.map(|without| Attacker { user, without });
    [0, ORDINARY].into_iter().flat_map(both).collect()
}

/// The first word of the guest's script: its upper half tells addresses and results from numbers.
const ADDRESS: u64 = 0xa711 << 48;
const RESULT: u64 = 0xa712 << 48;

/// What is no call: see `tests/hostile/guest.wat`.
const FIND: c_long = -3;
const GO_ON: c_long = -4;
const CLOSE_PIPES: c_long = -5;

/// The directory that paths begin at.
const HERE: u64 = (-100_i64).cast_unsigned();

/// What the guest is to do.
#[derive(Clone, Default)]
struct Script {
    calls: Vec<[u64; 7]>,
    data: Vec<u64>,
}

impl Script {
    /// Makes a call, and returns what stands for its result.
    fn call(&mut self, number: c_long, arguments: &[u64]) -> u64 {
        let mut words = [0; 7];
        words[0] = number.cast_unsigned();
        words[1..=arguments.len()].copy_from_slice(arguments);
        self.calls.push(words);
        RESULT | (self.calls.len() - 1) as u64
    }

    /// Words in the guest's memory, and what stands for their address.
    fn words(&mut self, words: &[u64]) -> u64 {
        let at = ADDRESS | (self.data.len() * 8) as u64;
        self.data.extend(words);
        at
    }

    fn text(&mut self, text: impl AsRef<[u8]>) -> u64 {
        let mut bytes = text.as_ref().to_vec();
        bytes.resize(bytes.len() / 8 * 8 + 8, 0);
        let words = bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
        let words: Vec<u64> = words.collect();
        self.words(&words)
    }

    /// As the guest reads it.
    fn digits(&self) -> String {
        let data_at = 8 + 56 * self.calls.len() as u64;
        let placed = |word: &u64| if word >> 48 == ADDRESS >> 48 { word + data_at } else { *word };
        let words = std::iter::once(self.calls.len() as u64)
            .chain(self.calls.iter().flatten().map(placed))
            .chain(self.data.iter().map(placed));
        words.flat_map(u64::to_le_bytes).fold(String::new(), |mut digits, byte| {
            write!(digits, "{byte:02x}").unwrap();
            digits
        })
    }
}

/// How one attack must end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// The last call is refused by one of these errors.
    Refused(&'static [i32]),
    /// By `SIGSYS`, and the record has the call's name.
    Told(&'static str),
    /// By `SIGSYS`.
    Ended,
}

/// What one guest did.
struct Came {
    results: Vec<i64>,
    record: Value,
}

impl std::fmt::Debug for Came {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { results, record } = self;
        let (end, error) = (record.get("message"), record.get("error"));
        write!(f, "{results:?}, {end:?} {error:?} {:?}", record.get("violation"))
    }
}

impl Came {
    fn read(line: &str) -> Self {
        let Value::Object(mut line) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
        let told = line["told"].as_str().unwrap().as_bytes();
        let results = told.chunks_exact(16).map(|digits| {
            let word = u64::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
            word.swap_bytes().cast_signed()
        });
        Self { results: results.collect(), record: line.remove("record").unwrap() }
    }

    /// Whether the list of calls ended it.
    fn was_ended(&self) -> bool {
        self.record["reason"] == "killed" && self.record["code"] == 128 + libc::SIGSYS
    }

    fn has(&self, end: End) -> bool {
        let violation = self.record.get("violation").and_then(Value::as_str);
        match end {
            End::Refused(errors) => {
                let refused =
                    errors.iter().any(|error| self.results.last() == Some(&-i64::from(*error)));
                refused && self.record["reason"] == "exited"
            }
            End::Told(name) => {
                self.was_ended()
                    && violation.is_some_and(|said| said.contains(&format!("`{name}`")))
            }
            End::Ended => self.was_ended() && violation.is_none(),
        }
    }
}

/// The attacked host: two grants, and what lies beside them.
struct Ground {
    folder: tempfile::TempDir,
    keeper: Child,
}

impl Ground {
    /// Starts the keeper of this attacker's guests; nothing where the program is not there.
    fn new(attacker: Attacker) -> Option<Self> {
        let program = hostile_path()?;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        if fs::hard_link(&program, path.join("hostile")).is_err() {
            fs::copy(&program, path.join("hostile")).unwrap();
        }
        fs::copy(root().join("tests/hostile/guest.wat"), path.join("guest.wat")).unwrap();
        for name in ["cache", "read", "write", "outside"] {
            fs::create_dir(path.join(name)).unwrap();
        }
        for name in ["read/file", "write/file", "outside/secret"] {
            fs::write(path.join(name), "canary").unwrap();
        }
        std::os::unix::fs::symlink("somewhere", path.join("outside/link")).unwrap();
        let tree = ["", "cache", "read", "write", "outside", "read/file", "write/file"];
        for name in tree.into_iter().chain(["outside/secret"]) {
            let (user, path) = (Some(attacker.user), path.join(name));
            std::os::unix::fs::chown(&path, user, user).unwrap();
            let open = if name == "cache" { 0o700 } else { 0o755 };
            fs::set_permissions(path, fs::Permissions::from_mode(open)).unwrap();
        }
        let mut command = Command::new(path.join("hostile"));
        command.arg("keep").args(["cache", "guest.wat", "read", "write"].map(|n| path.join(n)));
        command.args(attacker.without).env_clear().current_dir(path);
        command.uid(attacker.user).gid(attacker.user);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let keeper = command.spawn().unwrap();
        Some(Self { folder, keeper })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keeper(&self) -> u64 {
        self.keeper.id().into()
    }

    fn inode(&self, name: &str) -> u64 {
        fs::metadata(self.path(name)).unwrap().ino()
    }

    /// Runs guests, each with its deadline in milliseconds, and says what came of them.
    fn run(mut self, scripts: &[(u32, Script)]) -> (Vec<Came>, tempfile::TempDir) {
        let mut input = self.keeper.stdin.take().unwrap();
        let lines: Vec<String> = scripts
            .iter()
            .map(|(deadline, script)| format!("{deadline} {}\n", script.digits()))
            .collect();
        let writer = std::thread::spawn(move || {
            lines.iter().try_for_each(|line| input.write_all(line.as_bytes()))
        });
        let output = BufReader::new(self.keeper.stdout.take().unwrap());
        let came: Vec<Came> = output.lines().map(|line| Came::read(&line.unwrap())).collect();
        assert!(self.keeper.wait().unwrap().success());
        writer.join().unwrap().unwrap();
        assert_eq!(came.len(), scripts.len());
        (came, self.folder)
    }
}

/// One attack: what it is, what it does, and how it must end.
type Attack = (String, Script, End);

/// Makes each attack as each of these attackers, and sees to it that it ends as it must, and that what
/// lies beside the grants is as it was.
fn assert_ends(attackers: &[Attacker], attacks: impl Fn(Attacker, &Ground) -> Vec<Attack>) {
    for attacker in attackers {
        let Some(ground) = Ground::new(*attacker) else { return };
        let attacks = attacks(*attacker, &ground);
        let look = |folder: &Path| {
            let paths =
                ["outside", "outside/secret", "read", "read/file"].map(|name| folder.join(name));
            paths.map(|path| {
                let found = fs::metadata(&path).unwrap();
                (found.mtime(), found.mode(), found.uid(), found.len(), found.nlink())
            })
        };
        let before = look(ground.folder.path());
        let scripts: Vec<_> =
            attacks.iter().map(|(_, script, _)| (5_000, script.clone())).collect();
        let (came, folder) = ground.run(&scripts);
        for ((what, _, end), came) in attacks.iter().zip(&came) {
            assert!(came.has(*end), "{what}, as {attacker:?}, should be {end:?}: {came:#?}");
        }
        assert_eq!(look(folder.path()), before, "{attacker:?}");
    }
}

/// An attack of one step.
fn one(number: c_long, arguments: &[u64]) -> Script {
    let mut script = Script::default();
    script.call(number, arguments);
    script
}

/// One that uses a descriptor of a granted directory, which is found by its inode.
fn from_grant(inode: u64, attack: impl FnOnce(&mut Script, u64)) -> Script {
    let mut script = Script::default();
    let grant = script.call(FIND, &[inode]);
    attack(&mut script, grant);
    script
}

/// One that opens a path of the host.
fn opening(path: &str, flags: i32) -> Script {
    let mut script = Script::default();
    opens(&mut script, HERE, path, flags);
    script
}

/// One that passes the address of something in its memory.
fn with_text(number: c_long, text: &str, more: &[u64]) -> Script {
    let mut script = Script::default();
    let text = script.text(text);
    script.call(number, &[&[text], more].concat());
    script
}

fn opens(script: &mut Script, directory: u64, path: impl AsRef<[u8]>, flags: i32) -> u64 {
    let path = script.text(path);
    script.call(libc::SYS_openat, &[directory, path, flags.cast_unsigned().into(), 0o600])
}

// A directory is not opened to be written to, whoever asks.
const NOT_THERE: End = End::Refused(&[libc::ENOENT, libc::EACCES, libc::EISDIR]);
const READ_ONLY: End = End::Refused(&[libc::EACCES, libc::EROFS, libc::EXDEV]);

/// Files of the host by their paths, the attacker's own process and group among them.
fn by_paths(ground: &Ground) -> Vec<Attack> {
    let mut attacks: Vec<Attack> = Vec::new();
    let group = fs::read_to_string(format!("/proc/{}/cgroup", ground.keeper())).unwrap();
    let group = group.lines().filter_map(|line| line.splitn(3, ':').nth(2)).next_back().unwrap();
    let groups = ["", "/memory", "/cpu"].map(|controller| {
        format!("/sys/fs/cgroup{controller}{}/cgroup.procs", group.trim_end_matches('/'))
    });
    let other = format!("/proc/{}/mem", ground.keeper());
    let secret = ground.path("outside/secret").into_os_string().into_string().unwrap();
    let paths = [
        "/etc/shadow",
        "/etc/passwd",
        "/proc/self/mem",
        "/proc/self/maps",
        "/dev/mem",
        "/dev/tty",
        "/..",
        "/../etc/passwd",
        &secret,
        &other,
    ];
    for path in paths.into_iter().chain(groups.iter().map(String::as_str)) {
        for flags in [libc::O_RDONLY, libc::O_RDWR] {
            attacks.push((format!("opens {path}, {flags}"), opening(path, flags), NOT_THERE));
        }
    }
    let busy = End::Refused(&[libc::ENOENT, libc::EACCES, libc::ETXTBSY]);
    let own = opening("/proc/self/exe", libc::O_WRONLY);
    attacks.push(("writes to its own program".into(), own, busy));
    let made = opening("/new", libc::O_CREAT | libc::O_WRONLY);
    attacks.push(("makes a file in its root".into(), made, READ_ONLY));
    attacks
}

/// Files beside a granted directory, by way of its descriptor.
fn beside(attacker: Attacker, ground: &Ground, grant: &str) -> Vec<Attack> {
    let inode = ground.inode(grant);
    let mut attacks: Vec<Attack> = Vec::new();
    let mut attack = |what: &str, path: &str, end, make: &dyn Fn(&mut Script, u64, u64)| {
        let script = from_grant(inode, |script, grant| {
            let path = script.text(path);
            make(script, grant, path);
        });
        attacks.push((format!("{what} {path} from `{grant}`"), script, end));
    };
    for path in ["../outside/secret", "../outside", "../../../../../../etc/passwd"] {
        // Where the way up ends, this would make a file of that name within the grant.
        let creates = path.matches('/').count() > 1;
        let flags = [libc::O_RDONLY, libc::O_RDWR, libc::O_CREAT | libc::O_WRONLY];
        for flags in &flags[..2 + usize::from(creates)] {
            attack("opens", path, NOT_THERE, &|script, grant, path| {
                script.call(libc::SYS_openat, &[grant, path, flags.cast_unsigned().into(), 0o600]);
            });
        }
    }
    // What landlock does not hold: only where a grant is a mount of its own.
    if attacker.is_secluded() {
        let link = "../outside/link";
        attack("looks at", link, NOT_THERE, &|script, grant, path| {
            let room = script.words(&[0; 32]);
            script.call(libc::SYS_newfstatat, &[grant, path, room, 0x100]);
        });
        attack("reads", link, NOT_THERE, &|script, grant, path| {
            let room = script.words(&[0; 8]);
            script.call(libc::SYS_readlinkat, &[grant, path, room, 64]);
        });
        attack("asks for", "../outside/secret", NOT_THERE, &|script, grant, path| {
            script.call(libc::SYS_faccessat, &[grant, path, 0]);
        });
        attack("holds", "../outside", NOT_THERE, &|script, grant, path| {
            let flags = libc::O_PATH.cast_unsigned().into();
            script.call(libc::SYS_openat, &[grant, path, flags]);
        });
    }
    let secret = "../outside/secret";
    attack("sets the times of", secret, End::Told("utimensat"), &|script, grant, path| {
        let times = script.words(&[1, 0, 1, 0]);
        script.call(libc::SYS_utimensat, &[grant, path, times, 0]);
    });
    let refused =
        End::Refused(&[libc::ENOENT, libc::EACCES, libc::EROFS, libc::EXDEV, libc::EPERM]);
    attack("removes", secret, refused, &|script, grant, path| {
        script.call(libc::SYS_unlinkat, &[grant, path, 0]);
    });
    attack("makes", "../outside/new", refused, &|script, grant, path| {
        script.call(libc::SYS_mkdirat, &[grant, path, 0o700]);
    });
    for number in [libc::SYS_linkat, libc::SYS_renameat2] {
        attack("takes", secret, refused, &|script, grant, path| {
            let to = script.text("mine");
            script.call(number, &[grant, path, grant, to, 0]);
        });
    }
    attacks
}

/// Changes of what is granted for reading.
fn of_what_is_read_only(attacker: Attacker, ground: &Ground) -> Vec<Attack> {
    let inode = ground.inode("read");
    let mut attacks: Vec<Attack> = Vec::new();
    for (name, flags) in
        [("file", libc::O_WRONLY), ("file", libc::O_TRUNC), ("new", libc::O_CREAT | libc::O_EXCL)]
    {
        let script = from_grant(inode, |script, grant| {
            opens(script, grant, name, flags);
        });
        attacks.push((format!("opens `{name}` to write, {flags:o}"), script, READ_ONLY));
    }
    let script = from_grant(inode, |script, grant| {
        let path = script.text("file");
        script.call(libc::SYS_unlinkat, &[grant, path, 0]);
    });
    attacks.push(("removes `file`".into(), script, READ_ONLY));
    if attacker.is_secluded() {
        let script = from_grant(inode, |script, grant| {
            let file = opens(script, grant, "file", libc::O_RDONLY);
            let times = script.words(&[1, 0, 1, 0]);
            script.call(libc::SYS_utimensat, &[file, 0, times, 0]);
        });
        attacks.push(("sets times of `file`".into(), script, End::Refused(&[libc::EROFS])));
    }
    attacks
}

#[test]
fn native_code_reaches_no_file_but_what_was_granted() {
    assert_ends(&attackers(), |attacker, ground| {
        let beside =
            ["read", "write"].into_iter().flat_map(|grant| beside(attacker, ground, grant));
        let all = by_paths(ground).into_iter().chain(beside);
        all.chain(of_what_is_read_only(attacker, ground)).collect()
    });
}

#[test]
fn native_code_may_do_with_a_grant_what_that_allows() {
    // The test can fail: what it is refused elsewhere works where it may.
    for attacker in attackers() {
        let Some(ground) = Ground::new(attacker) else { return };
        let (read, write) = (ground.inode("read"), ground.inode("write"));
        let reads = from_grant(read, |script, grant| {
            let file = opens(script, grant, "file", libc::O_RDONLY);
            let room = script.words(&[0; 2]);
            script.call(libc::SYS_read, &[file, room, 16]);
        });
        let makes = from_grant(write, |script, grant| {
            let file = opens(script, grant, "new", libc::O_CREAT | libc::O_RDWR);
            let text = script.text("by the guest");
            script.call(libc::SYS_write, &[file, text, 12]);
        });
        let (came, folder) = ground.run(&[(5_000, reads), (5_000, makes)]);
        // Root is another where no namespace holds it, and may not write to what root owns.
        let writes = if attacker.user == 0 && !attacker.without.is_empty() {
            -i64::from(libc::EBADF)
        } else {
            assert_eq!(
                fs::read_to_string(folder.path().join("write/new")).unwrap(),
                "by the guest"
            );
            12
        };
        let last = |came: &Came| *came.results.last().unwrap();
        assert_eq!((last(&came[0]), last(&came[1])), (6, writes), "{attacker:?}: {came:#?}");
    }
}

/// Calls that a worker may never make, with arguments that would do harm: each is told by its name.
fn trapped(keeper: u64) -> Vec<(c_long, &'static str, Vec<u64>)> {
    let executable = 5;
    let anonymous = 0x22;
    vec![
        (libc::SYS_socket, "socket", vec![2, 1, 0]),
        (libc::SYS_connect, "connect", vec![0, 0, 16]),
        (libc::SYS_bind, "bind", vec![0, 0, 16]),
        (libc::SYS_accept4, "accept4", vec![0, 0, 0, 0]),
        (libc::SYS_sendmsg, "sendmsg", vec![1, 0, 0]),
        (libc::SYS_fork, "fork", vec![]),
        (libc::SYS_vfork, "vfork", vec![]),
        (libc::SYS_clone, "clone", vec![17, 0, 0, 0, 0]),
        // No signal is sent, in case one would be.
        (libc::SYS_kill, "kill", vec![keeper, 0]),
        (libc::SYS_kill, "kill", vec![u64::MAX, 0]),
        (libc::SYS_tkill, "tkill", vec![keeper, 0]),
        (libc::SYS_tgkill, "tgkill", vec![keeper, keeper, 0]),
        (libc::SYS_pidfd_open, "pidfd_open", vec![keeper, 0]),
        (libc::SYS_memfd_create, "memfd_create", vec![0, 0]),
        (libc::SYS_mmap, "mmap", vec![0, 4096, executable, anonymous, u64::MAX, 0]),
        (libc::SYS_mmap, "mmap", vec![0, 1 << 30, 3, 0x21, u64::MAX, 0]),
        (libc::SYS_mmap, "mmap", vec![0, 1 << 30, 3, 0x122, u64::MAX, 0]),
        (libc::SYS_mprotect, "mprotect", vec![0, 4096, executable]),
        (libc::SYS_pkey_mprotect, "pkey_mprotect", vec![0, 4096, executable, 0]),
        (libc::SYS_mknodat, "mknodat", vec![HERE, 0, 0o020_666, 0x0101]),
        (libc::SYS_mknod, "mknod", vec![0, 0o060_666, 0x0800]),
        (libc::SYS_fchmodat, "fchmodat", vec![HERE, 0, 0o4755]),
        (libc::SYS_fchownat, "fchownat", vec![HERE, 0, 0, 0, 0]),
        (libc::SYS_setxattr, "setxattr", vec![0, 0, 0, 0, 0]),
        (libc::SYS_setuid, "setuid", vec![0]),
        (libc::SYS_setresuid, "setresuid", vec![0, 0, 0]),
        (libc::SYS_setgroups, "setgroups", vec![0, 0]),
        (libc::SYS_capset, "capset", vec![0, 0]),
        (libc::SYS_prctl, "prctl", vec![libc::PR_SET_DUMPABLE as u64, 1]),
        (libc::SYS_prctl, "prctl", vec![libc::PR_SET_NO_NEW_PRIVS as u64, 0]),
        (libc::SYS_prctl, "prctl", vec![libc::PR_SET_PDEATHSIG as u64, 0]),
        (libc::SYS_prctl, "prctl", vec![libc::PR_SET_SECCOMP as u64, 0]),
        (libc::SYS_setrlimit, "setrlimit", vec![7, 0]),
        (libc::SYS_prlimit64, "prlimit64", vec![0, 7, ADDRESS, 0]),
        (libc::SYS_prlimit64, "prlimit64", vec![keeper, 7, 0, 0]),
        (libc::SYS_ioctl, "ioctl", vec![0, libc::TIOCSTI, 0]),
        (libc::SYS_ioctl, "ioctl", vec![1, libc::TIOCSTI, 0]),
        (libc::SYS_fcntl, "fcntl", vec![1, 8, keeper]),
        (libc::SYS_chdir, "chdir", vec![0]),
        (libc::SYS_dup2, "dup2", vec![1, 3]),
        (libc::SYS_dup3, "dup3", vec![1, 3, 0]),
        (libc::SYS_seccomp, "seccomp", vec![1, 0, 0]),
        (libc::SYS_rt_sigaction, "rt_sigaction", vec![31, 0, 0, 8]),
        (libc::SYS_sched_setaffinity, "sched_setaffinity", vec![0, 0, 0]),
        (libc::SYS_setpriority, "setpriority", vec![0, 0, 0]),
        (libc::SYS_shmget, "shmget", vec![0, 4096, 0o1600]),
        (libc::SYS_mq_open, "mq_open", vec![0, 0, 0, 0]),
        (libc::SYS_name_to_handle_at, "name_to_handle_at", vec![HERE, 0, 0, 0, 0]),
        (libc::SYS_sethostname, "sethostname", vec![0, 0]),
        (libc::SYS_clock_settime, "clock_settime", vec![0, 0]),
    ]
}

/// Calls that only an attack makes.
fn fatal(keeper: u64) -> Vec<(c_long, Vec<u64>)> {
    let nothing = || vec![0; 6];
    let mut all = vec![
        (libc::SYS_ptrace, vec![16, keeper, 0, 0]),
        (libc::SYS_process_vm_readv, vec![keeper, 0, 0, 0, 0, 0]),
        (libc::SYS_process_vm_writev, vec![keeper, 0, 0, 0, 0, 0]),
        (libc::SYS_pidfd_send_signal, vec![3, 0, 0, 0]),
        (libc::SYS_unshare, vec![0x1000_0000]),
        (libc::SYS_io_uring_setup, vec![1, ADDRESS]),
        (libc::SYS_userfaultfd, vec![1]),
        (libc::SYS_open_tree, vec![HERE, 0, 1]),
        // Numbers of another way to call on the same processor.
        (0x4000_0027, vec![]),
        (0x4000_0208, vec![]),
    ];
    let plain = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_setns,
        libc::SYS_chroot,
        libc::SYS_pivot_root,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_mount_setattr,
        libc::SYS_open_by_handle_at,
        libc::SYS_bpf,
        libc::SYS_io_uring_enter,
        libc::SYS_perf_event_open,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_personality,
        libc::SYS_iopl,
    ];
    all.extend(plain.map(|number| (number, nothing())));
    all
}

#[test]
fn a_call_that_is_not_left_is_the_last_of_native_code() {
    assert_ends(&attackers(), |_, ground| {
        let keeper = ground.keeper();
        let told = trapped(keeper).into_iter().map(|(number, name, arguments)| {
            (format!("{name} {arguments:x?}"), one(number, &arguments), End::Told(name))
        });
        let ended = fatal(keeper).into_iter().map(|(number, arguments)| {
            (format!("{number} {arguments:x?}"), one(number, &arguments), End::Ended)
        });
        // The walls tell of a call by a signal: to wait for none does not save it.
        let mut blocks = Script::default();
        let all = blocks.words(&[u64::MAX]);
        blocks.call(libc::SYS_rt_sigprocmask, &[0, all, 0, 8]);
        blocks.call(libc::SYS_socket, &[2, 1, 0]);
        let deaf = ("deaf to signals".to_owned(), blocks, End::Ended);
        told.chain(ended).chain([deaf]).collect()
    });
}

/// What the other walls refuse, where the list of calls is left out.
fn without_the_list(ground: &Ground) -> Vec<(&'static str, Script, End)> {
    let keeper = ground.keeper();
    let refused = End::Refused(&[libc::EPERM, libc::EACCES]);
    let invalid = End::Refused(&[libc::EPERM, libc::EINVAL]);
    // As where a kernel takes no modules.
    let absent = End::Refused(&[libc::EPERM, libc::ENOSYS]);
    let gone = End::Refused(&[libc::ENOENT, libc::EACCES]);
    let mut reads = Script::default();
    let room = reads.words(&[0]);
    let (own, its) = (reads.words(&[room, 8]), reads.words(&[0x40_0000, 8]));
    reads.call(libc::SYS_process_vm_readv, &[keeper, own, 1, its, 1, 0]);
    let mut connects = Script::default();
    // 127.0.0.1, port 9.
    let address = connects.words(&[0x0100_007f_0900_0002, 0]);
    let socket = connects.call(libc::SYS_socket, &[2, 1, 0]);
    connects.call(libc::SYS_connect, &[socket, address, 16]);
    let device = from_grant(ground.inode("write"), |script, grant| {
        let path = script.text("device");
        script.call(libc::SYS_mknodat, &[grant, path, 0o020_666, 0x0103]);
    });
    let mut capset = Script::default();
    let header = capset.words(&[0x2008_0522]);
    let sets = capset.words(&[u64::MAX; 3]);
    capset.call(libc::SYS_capset, &[header, sets]);
    let mut core = Script::default();
    let unlimited = core.words(&[u64::MAX; 2]);
    core.call(libc::SYS_setrlimit, &[4, unlimited]);
    // With all rights in namespaces of its own, which are not refused, it can do as little.
    let mut mounts = Script::default();
    mounts.call(libc::SYS_unshare, &[0x1002_0000]);
    let mut lifts = mounts.clone();
    let (kind, at) = (mounts.text("tmpfs"), mounts.text("/"));
    mounts.call(libc::SYS_mount, &[kind, at, kind, 0, 0]);
    let at = lifts.text("/");
    lifts.call(libc::SYS_umount2, &[at, 2]);
    vec![
        ("signals the keeper", one(libc::SYS_kill, &[keeper, 0]), refused),
        ("traces the keeper", one(libc::SYS_ptrace, &[16, keeper, 0, 0]), refused),
        ("reads the keeper's memory", reads, refused),
        ("makes a namespace of mounts", one(libc::SYS_unshare, &[0x2_0000]), refused),
        ("changes its root", with_text(libc::SYS_chroot, "..", &[]), refused),
        ("mounts", mounts, refused),
        ("lifts what covers the old root", lifts, invalid),
        ("runs a program", with_text(libc::SYS_execve, "/bin/true", &[0, 0]), gone),
        ("connects out", connects, refused),
        ("becomes another user", one(libc::SYS_setuid, &[1]), invalid),
        ("makes a device", device, refused),
        ("loads a program into the kernel", one(libc::SYS_bpf, &[5, 0, 0]), invalid),
        ("loads a module", one(libc::SYS_init_module, &[0, 0, 0]), absent),
        ("names the host", with_text(libc::SYS_sethostname, "mine", &[4]), refused),
        ("takes rights", capset, refused),
        ("takes `no_new_privs` back", one(libc::SYS_prctl, &[38, 0, 0, 0, 0]), invalid),
        ("allows itself core files", core, refused),
    ]
}

#[test]
fn without_the_list_of_calls_the_other_walls_refuse_native_code() {
    let all = attackers();
    let first = all.into_iter().filter(|attacker| attacker.without.is_empty());
    let bare = first.map(|attacker| Attacker { without: &["seccomp"], ..attacker });
    assert_ends(&bare.collect::<Vec<_>>(), |_, ground| {
        let all = without_the_list(ground).into_iter();
        all.map(|(what, script, end)| (what.to_owned(), script, end)).collect()
    });
}

/// What the walls say of each call, by its number.
fn list(program: &Path) -> BTreeMap<i64, String> {
    let told = Command::new(program).arg("calls").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let lines = told.lines().map(|line| {
        let words: Vec<&str> = line.split(' ').collect();
        (words[0].parse().unwrap(), words[2].to_owned())
    });
    lines.collect()
}

/// Where the numbers of calls end, with room for some to come.
const NUMBERS_END: i64 = 471;

/// Two calls of the kernel's own that it answers before it asks any filter, and that do nothing where
/// nobody debugs.
const PASSED_THROUGH: [i64; 2] = [335, 336];

#[test]
fn of_all_system_calls_only_those_of_the_list_are_answered() {
    // The list is the same with namespaces of users and without.
    for attacker in attackers().into_iter().filter(|attacker| attacker.without.is_empty()) {
        let Some(ground) = Ground::new(attacker) else { return };
        let list = list(&ground.path("hostile"));
        assert!((70..100).contains(
            &list.values().filter(|said| *said != "trapped" && *said != "killed").count()
        ));
        let scripts: Vec<_> = (0..NUMBERS_END).map(|number| (300, one(number, &[]))).collect();
        let (all, _folder) = ground.run(&scripts);
        for (number, came) in (0..).zip(&all) {
            let said = list.get(&number).map_or("trapped", String::as_str);
            let is_right = match said {
                _ if PASSED_THROUGH.contains(&number) => {
                    came.results.iter().all(|answer| *answer < 0)
                }
                "allowed" => !came.was_ended(),
                // With nothing but zeros, which some of them take.
                "checked" => {
                    let takes = [
                        libc::SYS_mmap,
                        libc::SYS_mprotect,
                        libc::SYS_sendto,
                        libc::SYS_prlimit64,
                        libc::SYS_close,
                        libc::SYS_rt_sigaction,
                        libc::SYS_utimensat,
                    ];
                    came.was_ended() != takes.contains(&number)
                }
                "hidden" => came.results == [-i64::from(libc::ENOSYS)],
                "killed" => came.has(End::Ended),
                _ => came.was_ended() && came.record["violation"].is_string(),
            };
            assert!(is_right, "call {number}, which is {said}, as {attacker:?}: {came:#?}");
        }
    }
}

#[test]
fn native_code_does_not_outlive_its_keeper() {
    assert_ends(&attackers(), |_, _| {
        let mut script = Script::default();
        script.call(CLOSE_PIPES, &[]);
        script.call(GO_ON, &[]);
        vec![("cuts its leash".to_owned(), script, End::Told("close"))]
    });
    for attacker in attackers() {
        let Some(mut ground) = Ground::new(attacker) else { return };
        let mut script = Script::default();
        let all = script.words(&[u64::MAX]);
        script.call(libc::SYS_rt_sigprocmask, &[0, all, 0, 8]);
        script.call(GO_ON, &[]);
        let line = format!("60000 {}\n", script.digits());
        ground.keeper.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        let worker = worker_of(ground.keeper.id());
        let status = || fs::read_to_string(format!("/proc/{worker}/status")).unwrap_or_default();
        // Deaf to all but what nobody is deaf to.
        wait_until("the guest to run", || {
            status().lines().any(|line| line.starts_with("SigBlk:\tfffffff"))
        });
        ground.keeper.kill().unwrap();
        ground.keeper.wait().unwrap();
        wait_until("the worker to be gone", || {
            let status = status();
            status.is_empty() || status.contains("State:\tZ")
        });
    }
}

#[test]
fn the_program_with_the_hole_is_the_only_one() {
    let Some(hostile) = hostile_path() else { return };
    let mark = b"aril_hostile";
    let has = |path: &Path| fs::read(path).unwrap().windows(mark.len()).any(|part| part == mark);
    assert!(has(&hostile), "what is looked for is there where it should be");
    assert!(!has(&aril_path()));
}
