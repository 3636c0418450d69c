//! Beyond the list: modules that few have seen, broken ones, and calls without sense.

use super::guest::BUFFER;
use super::guest::Guest;
use super::host::Host;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn pick<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let count = u64::try_from(all.len()).unwrap();
        &all[usize::try_from(self.roll() % count).unwrap()]
    }
}

/// How a run may end whose guest makes no sense: never by a signal or a panic of ours.
fn is_documented(code: Option<i32>) -> bool {
    code.is_some_and(|code| matches!(code, 0 | 1 | 124 | 126 | 134 | 137 | 153))
}

#[test]
fn calls_without_sense_end_in_errnos_and_traps() {
    let calls: &[(&str, &str)] = &[
        ("args_get", "pp"),
        ("args_sizes_get", "pp"),
        ("clock_res_get", "ip"),
        ("clock_time_get", "ilp"),
        ("environ_get", "pp"),
        ("environ_sizes_get", "pp"),
        ("fd_allocate", "fll"),
        ("fd_close", "f"),
        ("fd_fdstat_get", "fp"),
        ("fd_filestat_get", "fp"),
        ("fd_filestat_set_size", "fl"),
        ("fd_filestat_set_times", "flli"),
        ("fd_pread", "fpilp"),
        ("fd_prestat_dir_name", "fpi"),
        ("fd_prestat_get", "fp"),
        ("fd_pwrite", "fpilp"),
        ("fd_read", "fpip"),
        ("fd_readdir", "fpilp"),
        ("fd_renumber", "ff"),
        ("fd_seek", "flip"),
        ("fd_write", "fpip"),
        ("path_create_directory", "fpi"),
        ("path_filestat_get", "fipip"),
        ("path_filestat_set_times", "fipilli"),
        ("path_link", "fipifpi"),
        ("path_open", "fipiillip"),
        ("path_readlink", "fpipip"),
        ("path_remove_directory", "fpi"),
        ("path_rename", "fpifpi"),
        ("path_symlink", "pifpi"),
        ("path_unlink_file", "fpi"),
        ("poll_oneoff", "ppip"),
        ("random_get", "pi"),
    ];
    let pointers =
        ["0", "8", "4096", "1048576", "1048577", "2097144", "2097151", "-1", "-8", "0x7fffffff"];
    let sizes = ["0", "1", "2", "3", "8", "255", "4096", "65536", "-1", "0x7fffffff"];
    let longs = [
        "0",
        "1",
        "-1",
        "-2",
        "0x7fffffffffffffff",
        "0x8000000000000000",
        "0xffffffff",
        "999999999",
    ];
    let descriptors = ["0", "1", "2", "3", "3", "3", "4", "5", "6", "-1", "0x7fffffff"];
    for seed in 1..=12 {
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let host = Host::new().free("grant");
        host.file("grant/a", "inside");
        let mut guest = Guest::new();
        // Paths and buffers lie where the pointers point to.
        let _texts = guest.text("a\0../canary\0.\0/etc/passwd");
        guest = guest.code(format!(
            "(i32.store (i32.const {BUFFER}) (i32.const 4096)) (i32.store offset=4 (i32.const {BUFFER}) (i32.const 1))"
        ));
        for _ in 0..300 {
            let (name, params) = dice.pick(calls);
            let operands: String = params
                .chars()
                .map(|kind| match kind {
                    'p' => format!("(i32.const {})", dice.pick(&pointers)),
                    'i' => format!("(i32.const {})", dice.pick(&sizes)),
                    'l' => format!("(i64.const {})", dice.pick(&longs)),
                    _ => format!("(i32.const {})", dice.pick(&descriptors)),
                })
                .collect();
            guest = guest.code(format!("(drop (call ${name} {operands}))"));
        }
        let flags = ["--deadline", "3s", "--memory", "32m"].map(Into::into).into_iter();
        let attack = host.attack(flags.chain(host.grant("grant", "/")), &guest);
        assert!(is_documented(attack.outcome.code), "seed {seed}: {attack:#?}");
        assert!(!attack.outcome.stderr.contains("panicked"), "seed {seed}: {attack:#?}");
    }
}

#[test]
fn broken_modules_are_refused_or_run_and_never_break_the_host() {
    let whole = wat::parse_str(Guest::new().say("ran", "(i32.const 1)").wat()).unwrap();
    let mut dice = Dice(0x2545_f491_4f6c_dd1d);
    let host = Host::new();
    for round in 0..80 {
        let mut wasm = whole.clone();
        for _ in 0..=dice.roll() % 4 {
            let size = u64::try_from(wasm.len()).unwrap();
            let at = usize::try_from(8 + dice.roll() % (size - 8)).unwrap();
            wasm[at] = dice.roll().to_le_bytes()[3];
        }
        let attack = host.attack_wat(["--deadline", "2s", "-m", "64m"], wasm, |run| run);
        // A module may come to end with any code of its own.
        assert!(attack.outcome.code.is_some_and(|code| code != 101), "round {round}: {attack:#?}");
        assert!(!attack.outcome.stderr.contains("panicked"), "round {round}: {attack:#?}");
    }
}

/// Modules, each with the codes that its run may end with.
#[expect(clippy::too_many_lines, reason = "a table: one entry for each module")]
fn rare_modules() -> Vec<(&'static str, String, &'static [i32])> {
    let start = |body: &str| format!("(module {body})");
    let many_memories = format!(
        "{} (func (export \"_start\") (drop (memory.grow 99 (i32.const 1))))",
        "(memory 0) ".repeat(100)
    );
    vec![
        ("a hundred memories", start(&many_memories), &[0, 126]),
        (
            "a memory of 64 bits that grows",
            start("(memory i64 1) (func (export \"_start\")
              (if (i64.ne (memory.grow (i64.const 0x1000000000)) (i64.const -1)) (then unreachable)))"),
            &[0],
        ),
        (
            "an access far beyond a memory of 64 bits",
            start("(memory i64 1) (func (export \"_start\") (drop (i64.load (i64.const -8))))"),
            &[134],
        ),
        (
            "a table of 64 bits",
            start("(table i64 1 funcref) (func (export \"_start\") (call_indirect (i64.const -1)))"),
            &[134],
        ),
        (
            "an exception that nobody catches",
            start("(tag $t) (func (export \"_start\") (throw $t))"),
            &[134, 126],
        ),
        (
            "exceptions for ever",
            start("(tag $t (param i64)) (func (export \"_start\")
              (loop $l (block $b (result i64) (try_table (catch $t $b) (throw $t (i64.const 1))) (i64.const 1))
                drop (br $l)))"),
            &[124, 126, 137],
        ),
        (
            "tail calls for ever",
            start("(func $f (export \"_start\") (return_call $f))"),
            &[124],
        ),
        (
            "arrays of a garbage-collected heap",
            start("(type $a (array (mut i8))) (func (export \"_start\")
              (drop (array.new_default $a (i32.const -1))))"),
            &[134, 137],
        ),
        (
            "a start function that traps",
            start("(func $s unreachable) (start $s) (func (export \"_start\"))"),
            &[134],
        ),
        (
            "a start function that exits",
            start("(import \"wasi_snapshot_preview1\" \"proc_exit\" (func $e (param i32)))
              (memory (export \"memory\") 1) (func $s (call $e (i32.const 7))) (start $s) (func (export \"_start\"))"),
            &[7],
        ),
        (
            "a host call before there is a memory",
            start("(import \"wasi_snapshot_preview1\" \"random_get\" (func $r (param i32 i32) (result i32)))
              (func (export \"_start\") (drop (call $r (i32.const 0) (i32.const 8))))"),
            &[134],
        ),
        (
            "a memory export that is none",
            start("(import \"wasi_snapshot_preview1\" \"random_get\" (func $r (param i32 i32) (result i32)))
              (global (export \"memory\") i32 (i32.const 0))
              (func (export \"_start\") (drop (call $r (i32.const 0) (i32.const 8))))"),
            &[134],
        ),
        ("a start of another type", start("(func (export \"_start\") (param i32))"), &[126]),
        (
            "data beyond memory",
            start("(memory 1) (data (i32.const 65536) \"x\") (func (export \"_start\"))"),
            &[134],
        ),
        ("a component of nothing", "(component)".to_owned(), &[126]),
        (
            "components in components",
            format!("{}{}", "(component ".repeat(90), ")".repeat(90)),
            &[126],
        ),
        (
            "a component of very many instances",
            format!(
                "(component (core module $m (memory 1)) {} )",
                "(core instance (instantiate $m)) ".repeat(3000)
            ),
            &[126],
        ),
    ]
}

#[test]
fn rare_features_run_within_the_limits_or_are_refused() {
    for (what, wat, codes) in rare_modules() {
        let host = Host::new();
        let flags = ["--deadline", "2s", "-m", "64m"];
        let attack = host.attack_wat(flags, &wat, |run| run);
        let code = attack.outcome.code;
        assert!(code.is_some_and(|code| codes.contains(&code)), "{what}: {attack:#?}");
    }
}

#[test]
fn a_component_that_returns_more_than_the_host_takes_is_ended() {
    let host = Host::new();
    // A text of 60 MiB, of which a call may cost the host 8.
    let wat = "(component
      (core module $m
        (memory (export \"memory\") 1000)
        (func (export \"f\") (result i32)
          (i32.store (i32.const 0) (i32.const 16)) (i32.store (i32.const 4) (i32.const 62914560))
          (i32.const 0)))
      (core instance $i (instantiate $m))
      (func (export \"f\") (result string)
        (canon lift (core func $i \"f\") (memory (core memory $i \"memory\")))))";
    let attack = host.attack_wat(["--invoke", "f"], wat, |run| run).expect_code(134);
    assert!(attack.outcome.stdout.is_empty());
}
