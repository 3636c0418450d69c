//! What a child does with the bare engine.

use std::sync::Arc;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use tokio::runtime::Runtime;

use crate::bare;
use crate::bare::Guest;
use crate::run::footprint;

use super::Job;
use super::SETTLE;
use super::cpu_time;
use super::each;

/// Guests alive at the same moment, where one runs after the other: as in a runtime by default.
const ROOM: u32 = 1000;

/// CODE DIRECTORY COUNT: launches a guest COUNT times; seconds each.
pub(super) fn launch<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [code, directory, count] = words else { bail!("CODE DIRECTORY COUNT") };
    let (directory, count) = (directory.clone(), count.parse()?);
    let guest = Guest::new(&bare::engine(ROOM)?, code)?;
    let arguments = vec!["guest".to_owned()];
    Ok(Box::new(move || {
        let started = Instant::now();
        runtime.block_on(async {
            for _ in 0..count {
                let output = guest.run(&arguments, Some(&directory)).await?;
                ensure!(output == b"hello\n", "the guest said something else");
            }
            Ok(each(started.elapsed(), count).to_string())
        })
    }))
}

/// CODE COUNT: the private memory of this process with COUNT guests asleep.
pub(super) fn crowd<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [code, count] = words else { bail!("CODE COUNT") };
    let count: u32 = count.parse()?;
    let guest = Arc::new(Guest::new(&bare::engine(count)?, code)?);
    Ok(Box::new(move || {
        runtime.block_on(async {
            let mut asleep = Vec::new();
            for _ in 0..count {
                let guest = Arc::clone(&guest);
                asleep.push(tokio::spawn(async move { guest.run(&[], None).await }));
                // Each comes to its sleep before the next: a guest that waits for its first turn
                // has no memory yet, and would make the crowd look small.
                tokio::task::yield_now().await;
            }
            tokio::time::sleep(SETTLE).await;
            ensure!(asleep.iter().all(|guest| !guest.is_finished()), "a guest ended");
            Ok(footprint("self")?.private.to_string())
        })
    }))
}

/// CODE ARGUMENTS...: runs a guest; the processor time of this process.
pub(super) fn work<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let Some((code, arguments)) = words.split_first() else { bail!("CODE ARGUMENTS...") };
    let guest = Guest::new(&bare::engine(ROOM)?, code)?;
    let arguments = [&["guest".to_owned()], arguments].concat();
    Ok(Box::new(move || {
        let before = cpu_time();
        runtime.block_on(guest.run(&arguments, None))?;
        Ok(cpu_time().saturating_sub(before).as_secs_f64().to_string())
    }))
}

/// CODE: maps machine code; seconds.
pub(super) fn load<'a>(words: &[String]) -> anyhow::Result<Job<'a>> {
    let [code] = words else { bail!("CODE") };
    let (code, engine) = (code.clone(), bare::engine_for_one()?);
    Ok(Box::new(move || {
        let started = Instant::now();
        let module = bare::load(&engine, &code)?;
        let taken = started.elapsed();
        drop(module);
        Ok(taken.as_secs_f64().to_string())
    }))
}

/// CODE ARGUMENTS...: maps machine code, makes one guest of it without a pool, and runs that to its
/// end; seconds.
pub(super) fn once<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [code, arguments @ ..] = words else { bail!("CODE ARGUMENTS...") };
    let (code, arguments) = (code.clone(), arguments.to_vec());
    let engine = bare::engine_for_one()?;
    Ok(Box::new(move || {
        let started = Instant::now();
        let guest = Guest::new(&engine, &code)?;
        let output = runtime.block_on(guest.run(&arguments, None))?;
        let taken = started.elapsed();
        ensure!(!output.is_empty(), "the guest said nothing");
        Ok(taken.as_secs_f64().to_string())
    }))
}
