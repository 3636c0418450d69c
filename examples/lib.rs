//! Host programs, each a runnable lesson, in reading order. Run them from the root of the
//! repository; none needs anything but this repository, except `snippets`, which wants a Python.
//!
//! | `cargo run --example` | what it shows |
//! |---|---|
//! | `hello` | the shortest program: prepare, launch, wait |
//! | `limits` | what happens at each limit, and how the end says so |
//! | `directory` | granting a directory, and what a guest cannot do with it |
//! | `runaway` | ending guests that do not end: a deadline, a kill, a drop |
//! | `many` | a hundred sandboxes in one process, each with its own limits and figures |
//! | `resize` | changing a limit of a guest while it runs |
//! | `snippets` | an HTTP service that runs Python from its requests, each in a fresh sandbox |
//!
//! Their guests are in `guests/`: text that anybody can read, and that needs no toolchain.
