//! One guest for each kind of behaviour, as text.

use std::path::Path;

use aril::Artifact;
use aril::Runtime;

/// The guests, ready to be launched.
#[derive(Debug)]
pub(crate) struct Guests {
    pub(crate) hello: Artifact,
    pub(crate) crash: Artifact,
    pub(crate) hog: Artifact,
    pub(crate) spin: Artifact,
    pub(crate) greedy: Artifact,
}

const HELLO: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "hello\n")
  (func (export "_start")
    (i32.store (i32.const 0) (i32.const 8))
    (i32.store (i32.const 4) (i32.const 6))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 32)))))"#;

const CRASH: &str = r#"(module (func (export "_start") unreachable))"#;

/// Takes memory until it is told no, and gives up.
const HOG: &str = r#"(module
  (memory (export "memory") 1)
  (func (export "_start")
    (loop $more
      (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable))"#;

const SPIN: &str = r#"(module (func (export "_start") (loop $on (br $on))))"#;

/// Opens its own root until it is told no, which is an end like any other.
const GREEDY: &str = r#"(module
  (import "wasi_snapshot_preview1" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) ".")
  (func (export "_start")
    (loop $more
      (br_if $more (i32.eqz (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1)
        (i32.const 2) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 16)))))))"#;

impl Guests {
    pub(crate) async fn prepare(runtime: &Runtime, folder: &Path) -> anyhow::Result<Self> {
        let guest = async |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text)?;
            anyhow::Ok(runtime.prepare(path).await?)
        };
        Ok(Self {
            hello: guest("hello.wat", HELLO).await?,
            crash: guest("crash.wat", CRASH).await?,
            hog: guest("hog.wat", HOG).await?,
            spin: guest("spin.wat", SPIN).await?,
            greedy: guest("greedy.wat", GREEDY).await?,
        })
    }
}
