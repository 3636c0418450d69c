//! What a child does with programs: it starts them, and waits for them.

use std::process::Command;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::bail;

use super::Job;
use crate::peers::NUMBER;
use crate::run::run;

/// The words as a command, with a number in its place.
fn numbered(words: &[String], number: usize) -> anyhow::Result<Command> {
    let (program, rest) = words.split_first().context("which program?")?;
    let mut command = Command::new(program);
    command.args(rest.iter().map(|word| word.replace(NUMBER, &number.to_string())));
    command.stdin(std::process::Stdio::null());
    Ok(command)
}

/// PROGRAM ARGUMENT...: runs it to its end; seconds.
pub(super) fn once(words: &[String]) -> Job<'_> {
    let mut number = 0;
    Box::new(move || {
        number += 1;
        Ok(run(&mut numbered(words, number)?, 0)?.wall.as_secs_f64().to_string())
    })
}

/// COUNT ABREAST PROGRAM ARGUMENT...: runs it COUNT times to its end, ABREAST at a time; seconds for
/// all of them.
pub(super) fn crowd(words: &[String]) -> anyhow::Result<Job<'_>> {
    let [count, abreast, words @ ..] = words else { bail!("COUNT ABREAST PROGRAM ARGUMENT...") };
    let (count, abreast): (usize, usize) = (count.parse()?, abreast.parse()?);
    Ok(Box::new(move || {
        let started = Instant::now();
        abreast_of(count, abreast, |number| run(&mut numbered(words, number)?, 0).map(drop))?;
        Ok(started.elapsed().as_secs_f64().to_string())
    }))
}

/// Does something for each number below `count`, for so many of them at a time.
pub(crate) fn abreast_of(
    count: usize,
    abreast: usize,
    act: impl Fn(usize) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let work = || -> anyhow::Result<()> {
        loop {
            let number = next.fetch_add(1, Relaxed);
            if count <= number {
                return Ok(());
            }
            act(number)?;
        }
    };
    std::thread::scope(|threads| {
        let working: Vec<_> = (0..abreast).map(|_| threads.spawn(work)).collect();
        for thread in working {
            match thread.join() {
                Ok(done) => done?,
                Err(_) => bail!("a thread that starts programs panicked"),
            }
        }
        Ok(())
    })
}
