//! What a child does with the library.

use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use anyhow::ensure;
use aril::Access;
use aril::Artifact;
use aril::Cpus;
use aril::Directory;
use aril::Exit;
use aril::Limits;
use aril::Output;
use aril::Sandbox;
use aril::SandboxSpec;
use tokio::runtime::Runtime;

use super::Job;
use super::SETTLE;
use super::cpu_time;
use super::each;
use crate::run::footprint;

/// Every limit but fuel, none of them near.
fn limits() -> anyhow::Result<Limits> {
    let hour = Duration::from_hours(1);
    Ok(Limits {
        memory: "1g".parse::<aril::Bytes>()?.into(),
        deadline: hour.into(),
        cpu_time: hour.into(),
        output: "16m".parse::<aril::Bytes>()?.into(),
        open_files: 100.into(),
        cpus: Cpus::ONE.into(),
        ..Limits::default()
    })
}

/// Opens the library, with room for so many, and makes a guest ready.
fn open(
    cache: &str,
    guest: &str,
    room: u32,
    runtime: &Runtime,
) -> anyhow::Result<(aril::Runtime, Artifact)> {
    let library = aril::Runtime::builder(cache).sandboxes_max(room).open()?;
    let artifact = runtime.block_on(library.prepare(guest))?;
    Ok((library, artifact))
}

/// CACHE GUEST DIRECTORY COUNT HOW: launches a guest COUNT times; seconds each. HOW is `held`, where
/// the directory was opened once, or `anew`.
pub(super) fn launch<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [cache, guest, directory, count, how] = words else {
        bail!("CACHE GUEST DIRECTORY COUNT HOW")
    };
    let count = count.parse()?;
    let directory = directory.clone();
    let open_directory = move || Directory::open(&directory, "/data", Access::ReadWrite);
    let held = if how == "held" { Some(open_directory()?) } else { None };
    let (library, artifact) = open(cache, guest, 1000, runtime)?;
    let limits = limits()?;
    Ok(Box::new(move || {
        let started = Instant::now();
        runtime.block_on(async {
            for _ in 0..count {
                let spec = SandboxSpec::new("guest")
                    .limits(limits)
                    .directory(held.clone().map_or_else(&open_directory, Ok)?)
                    .stdout(Output::Capture)
                    .stderr(Output::Capture);
                let sandbox = library.launch(&artifact, spec).await?;
                let exit = sandbox.wait().await?;
                ensure!(exit == Exit::Exited(0), "the guest ended: {exit}");
                ensure!(sandbox.captured() == b"hello\n", "the guest said something else");
            }
            Ok(each(started.elapsed(), count).to_string())
        })
    }))
}

/// CACHE GUEST COUNT: the private memory of this process with COUNT guests asleep.
pub(super) fn crowd<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [cache, guest, count] = words else { bail!("CACHE GUEST COUNT") };
    let count: u32 = count.parse()?;
    let (library, artifact) = open(cache, guest, count, runtime)?;
    let limits = limits()?;
    Ok(Box::new(move || {
        runtime.block_on(async {
            let mut asleep = Vec::new();
            for _ in 0..count {
                let spec = SandboxSpec::new("guest").limits(limits);
                asleep.push(library.launch(&artifact, spec).await?);
            }
            while asleep.iter().any(|sandbox| sandbox.stats().first_instruction.is_none()) {
                tokio::time::sleep(SETTLE).await;
            }
            tokio::time::sleep(SETTLE).await;
            ensure!(asleep.iter().all(|sandbox| !sandbox.has_ended()), "a guest ended");
            Ok(footprint("self")?.private.to_string())
        })
    }))
}

/// CACHE GUEST COUNT: launches sleepers until one is refused, at most COUNT; how many there are,
/// and the refusal.
pub(super) fn full<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [cache, guest, count] = words else { bail!("CACHE GUEST COUNT") };
    let count: u32 = count.parse()?;
    let (library, artifact) = open(cache, guest, count, runtime)?;
    Ok(Box::new(move || {
        runtime.block_on(async {
            let mut asleep = Vec::new();
            for _ in 0..count {
                match library.launch(&artifact, SandboxSpec::new("guest")).await {
                    Ok(sandbox) => asleep.push(sandbox),
                    Err(error) => {
                        let reason = format!("{:#}", anyhow::Error::from(error));
                        return Ok(format!("{} {}", asleep.len(), reason.replace('\n', " ")));
                    }
                }
                // Each comes to its sleep before the next: its mappings are made then.
                tokio::task::yield_now().await;
            }
            let alive = asleep.iter().filter(|sandbox| !sandbox.has_ended()).count();
            Ok(format!("{alive} there was room for all"))
        })
    }))
}

/// CACHE GUEST ARGUMENTS...: runs a guest; the processor time of this process.
pub(super) fn work<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [cache, guest, arguments @ ..] = words else { bail!("CACHE GUEST ARGUMENTS...") };
    let (library, artifact) = open(cache, guest, 1000, runtime)?;
    let spec = SandboxSpec::new("guest").args(arguments).limits(limits()?).stdout(Output::Capture);
    Ok(Box::new(move || {
        let before = cpu_time();
        runtime.block_on(async {
            let sandbox = library.launch(&artifact, spec.clone()).await?;
            let exit = sandbox.wait().await?;
            ensure!(exit == Exit::Exited(0), "the guest ended: {exit}");
            anyhow::Ok(())
        })?;
        Ok(cpu_time().saturating_sub(before).as_secs_f64().to_string())
    }))
}

/// CACHE GUEST COUNT MILLISECONDS: launches COUNT guests that do not end with a deadline; how long
/// beyond it the last of them ended, in seconds.
pub(super) fn late<'a>(words: &[String], runtime: &'a Runtime) -> anyhow::Result<Job<'a>> {
    let [cache, guest, count, deadline] = words else { bail!("CACHE GUEST COUNT MILLISECONDS") };
    let (count, deadline): (u32, u64) = (count.parse()?, deadline.parse()?);
    let (library, artifact) = open(cache, guest, 1000, runtime)?;
    let deadline = Duration::from_millis(deadline);
    let limits = Limits {
        memory: "2g".parse::<aril::Bytes>()?.into(),
        deadline: deadline.into(),
        ..Limits::default()
    };
    Ok(Box::new(move || {
        runtime.block_on(async {
            let mut alive = Vec::new();
            for _ in 0..count {
                let spec = SandboxSpec::new("guest").limits(limits);
                alive.push(library.launch(&artifact, spec).await?);
            }
            let mut most = Duration::ZERO;
            for sandbox in alive {
                let exit = sandbox.wait().await?;
                ensure!(exit == Exit::Deadline, "the guest ended: {exit}");
                most = most.max(sandbox.stats().elapsed.saturating_sub(deadline));
            }
            Ok(most.as_secs_f64().to_string())
        })
    }))
}

/// Threads that run the guests of [`shares`], half of them each.
const THREADS: u32 = 2;

/// CACHE SPINNER DOZER COUNT SECONDS: the shares of COUNT guests that spin at a hundredth of a
/// processor, for so long; then how often a second one wakes that sleeps for ten milliseconds at a time,
/// and last of all how often it does so without a limit.
pub(super) fn shares<'a>(words: &[String]) -> anyhow::Result<Job<'a>> {
    let [cache, spinner, dozer, count, seconds] = words else {
        bail!("CACHE SPINNER DOZER COUNT SECONDS")
    };
    let (count, seconds): (u32, u64) = (count.parse()?, seconds.parse()?);
    let words = [cache, spinner, dozer].map(Clone::clone);
    Ok(Box::new(move || {
        let span = Duration::from_secs(seconds);
        let parts = std::thread::scope(|scope| {
            let part = |last: bool| share_part(&words, count / THREADS, last, span);
            let threads: Vec<_> =
                (0..THREADS).map(|index| scope.spawn(move || part(index + 1 == THREADS))).collect();
            threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect::<Vec<_>>()
        });
        let mut figures = Vec::new();
        for part in parts {
            figures.extend(part.map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        // The thread that has the dozers comes last, so that their figures do.
        let words: Vec<String> = figures.iter().map(f64::to_string).collect();
        Ok(words.join(" "))
    }))
}

fn share_part(
    [cache, spinner, dozer]: &[String; 3],
    count: u32,
    dozers: bool,
    span: Duration,
) -> anyhow::Result<Vec<f64>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (library, spinner) = open(cache, spinner, 1000, &runtime)?;
    let dozer = runtime.block_on(library.prepare(dozer))?;
    let limited = Limits { cpus: "0.01".parse::<Cpus>()?.into(), ..Limits::default() };
    runtime.block_on(async {
        let launch =
            |artifact, limits| library.launch(artifact, SandboxSpec::new("guest").limits(limits));
        let mut spinning: Vec<Sandbox> = Vec::new();
        for _ in 0..count {
            spinning.push(launch(&spinner, limited).await?);
        }
        let mut dozing: Vec<Sandbox> = Vec::new();
        if dozers {
            dozing.push(launch(&dozer, limited).await?);
            dozing.push(launch(&dozer, Limits::default()).await?);
        }
        // What all have saved up at their start is spent by then.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let before: Vec<Duration> = spinning.iter().map(|guest| guest.stats().cpu_time).collect();
        let calls: Vec<u64> = dozing.iter().map(|guest| guest.stats().host_calls).collect();
        let started = Instant::now();
        tokio::time::sleep(span).await;
        let taken = started.elapsed().as_secs_f64();
        let shares = spinning.iter().zip(before);
        let shares = shares.map(|(guest, before)| {
            guest.stats().cpu_time.saturating_sub(before).as_secs_f64() / taken
        });
        let woken = dozing.iter().zip(calls);
        let woken = woken.map(|(guest, before)| guest.stats().host_calls - before);
        let woken = woken.map(|count| f64::from(u32::try_from(count).unwrap_or(u32::MAX)) / taken);
        Ok(shares.chain(woken).collect())
    })
}
