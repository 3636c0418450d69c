//! What is left when something breaks, and when much happens at once: nothing.

use super::*;

#[tokio::test]
async fn all_of_a_container_without_numbers_of_its_own_ends_with_it_and_is_waited_for() {
    let Some(bed) = Bed::new() else { return };
    // Neither of our own child nor of a container's is anybody else told how it ended.
    let mut own = Command::new("false").spawn().unwrap();
    let line = "(busybox sleep 0 & busybox sleep 1000 &); busybox setsid busybox sleep 0 & wait; echo left; \
                exec busybox sleep 1000";
    let native = bed
        .create_with("native-shared", line, |config| {
            config["linux"]["namespaces"].as_array_mut().unwrap().remove(0);
        })
        .await;
    native.start().await.unwrap();
    until("whom it leaves", || bed.output("native-shared") == "left\n").await;
    until("them to be waited for", || traces::zombies() == [own.id()]).await;
    assert_eq!(native.pids().unwrap().len(), 2);
    let pids = native.pids().unwrap();

    native.kill(KILL, false).await.unwrap();
    assert_eq!(within(native.wait()).await.status, 137);
    until("all of them to be gone", || !pids.iter().any(|pid| traces::is_there(*pid))).await;
    within(native.delete()).await.unwrap();
    assert_eq!(own.wait().unwrap().code(), Some(1));
    bed.expect_nothing_left(&["native-shared"]);
}

#[tokio::test]
async fn whatever_is_left_after_a_crash_is_removed_twice_if_need_be() {
    let Some(bed) = Bed::new() else { return };
    let id = "native-crash";
    // Running, killed by somebody else, and never started.
    for (starts, dies) in [(true, false), (true, true), (false, false)] {
        let native = bed.create(id, "busybox sleep 1000").await;
        if starts {
            native.start().await.unwrap();
        }
        if dies {
            native.process().signal(KILL).unwrap();
        }
        let bundle = bed.folder.path().join(id);
        for _ in 0..2 {
            within(Native::force_delete(&bed.runc, id, &bundle)).await.unwrap();
            bed.expect_nothing_left(&[id]);
        }
        assert_eq!(within(native.wait()).await.status, 137);
        let error = native.delete().await.unwrap_err();
        assert!(matches!(error, NativeError::Gone { .. }), "{error}");
    }
    // What its maker left that was killed before it had written anything down.
    fs::create_dir_all(bed.runc.root.join(id)).unwrap();
    within(Native::force_delete(&bed.runc, id, &bed.folder.path().join(id))).await.unwrap();
    // And one of which even the bundle is gone.
    within(Native::force_delete(&bed.runc, id, Path::new("/no/such/bundle"))).await.unwrap();
    bed.expect_nothing_left(&[id]);
}

#[tokio::test]
async fn a_making_that_is_given_up_is_undone() {
    let Some(bed) = Bed::new() else { return };
    let id = "native-given-up";
    let bundle = bed.bundle(id, "true", |_| ());
    let state = || fs::read_dir(&bed.runc.root).into_iter().flatten().count();
    // At moments all over what a making takes.
    for span in (0..12).map(|number| Duration::from_millis(number * 3)) {
        let making = Native::create(&bed.runc, id, &bundle, Streams::default());
        if let Ok(native) = tokio::time::timeout(span, making).await {
            assert_eq!(end(&native.unwrap()).await.status, 137);
        }
        // It has begun in any case, and writes this as it ends.
        until("its making", || bundle.join("init.pid").exists()).await;
        until("its undoing", || state() == 0 && traces::groups(id).is_empty()).await;
        fs::remove_file(bundle.join("init.pid")).unwrap();
    }
}

#[tokio::test]
async fn what_a_call_leaves_that_takes_too_long_is_ended_and_waited_for() {
    let Some(bed) = Bed::new() else { return };
    let folder = bed.folder.path();
    let program = folder.join("slow");
    traces::make_program(&program, "#!/bin/sh\nsleep 1000 & sleep 1000 & wait\n");
    let runc = Runc { program, ..bed.runc.clone() };
    let mut call = Call::new("create", "native-slow");
    (call.folder, call.span) = (Some(folder.to_owned()), Duration::from_millis(300));
    let error = within(runc.run(call)).await.unwrap_err();
    assert!(matches!(error, NativeError::TooLong { verb: "create", .. }), "{error}");
    until("its children to be waited for", || traces::zombies().is_empty()).await;
}

#[tokio::test]
async fn many_containers_at_once_run_to_their_ends() {
    let Some(bed) = Bed::new() else { return };
    let ids: Vec<String> = (0..20).map(|number| format!("native-many-{number}")).collect();
    let mut all = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        let bundle = bed.bundle(id, &format!("echo {number}; exit {number}"), |_| ());
        let output = File::create(bed.output_path(id)).unwrap();
        let (runc, id) = (bed.runc.clone(), id.clone());
        all.push(tokio::spawn(async move {
            let streams = Streams { stdout: Some(output), ..Streams::default() };
            let native = Native::create(&runc, &id, &bundle, streams).await.unwrap();
            native.start().await.unwrap();
            let ended = native.wait().await;
            native.delete().await.unwrap();
            ended.status
        }));
    }
    for (number, one) in all.into_iter().enumerate() {
        let status = tokio::time::timeout(LIMIT * 2, one).await.unwrap().unwrap();
        assert_eq!((status as usize, bed.output(&ids[number])), (number, format!("{number}\n")));
    }
    bed.expect_nothing_left(&ids.iter().map(String::as_str).collect::<Vec<_>>());
}

#[tokio::test]
async fn containers_that_come_and_go_leave_no_file_open_and_no_child() {
    let Some(bed) = Bed::new() else { return };
    let id = "native-again";
    let mut before = 0;
    for round in 0..4 {
        let native = bed.create(id, "exec busybox sleep 1000").await;
        native.start().await.unwrap();
        let line = process("exit 2").to_string().into_bytes();
        let beside = within(native.exec("one", &line, Streams::default())).await.unwrap();
        assert_eq!(within(beside.wait()).await.status, 2);
        assert_eq!(end(&native).await.status, 137);
        drop((native, beside));
        // What the runtime opens for itself is open after the first.
        if round == 0 {
            before = traces::open_files();
        }
    }
    until("its files to be closed", || traces::open_files() <= before).await;
    until("its children to be waited for", || traces::zombies().is_empty()).await;
    bed.expect_nothing_left(&[id]);
}

#[tokio::test]
async fn a_container_that_cannot_be_made_says_why_and_what_to_do() {
    let Some(bed) = Bed::new() else { return };
    let id = "native-refused";
    let bundle = bed.bundle(id, "true", |config| {
        config["process"]["args"] = json!(["/no/such/program"]);
    });
    let create = |runc: Runc, id: &'static str, bundle: PathBuf| async move {
        within(Native::create(&runc, id, &bundle, Streams::default())).await.unwrap_err()
    };
    let error = create(bed.runc.clone(), id, bundle.clone()).await;
    assert!(matches!(error, NativeError::Refused { verb: "create", .. }), "{error}");
    assert!(error.to_string().contains("/no/such/program"), "{error}");
    bed.expect_nothing_left(&[id]);

    let named = |program: &str| Runc { program: program.into(), ..bed.runc.clone() };
    for program in ["no-such-runc", "/no/such/runc"] {
        let error = create(named(program), id, bundle.clone()).await;
        assert!(matches!(error, NativeError::Missing { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(program) && text.contains("BinaryName"), "{text}");
    }
    let error = create(named("false"), id, bundle.clone()).await;
    assert!(matches!(error, NativeError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("exit status: 1: it did not say why"), "{error}");

    for bad in ["", "--root", "../x", "a/b", "a b", "a\u{1b}"] {
        let error = create(bed.runc.clone(), bad, bundle.clone()).await;
        assert!(matches!(error, NativeError::InvalidId { .. }), "{error}");
        let error = Native::force_delete(&bed.runc, bad, &bundle).await.unwrap_err();
        assert!(matches!(error, NativeError::InvalidId { .. }), "{error}");
    }
    let error = create(bed.runc.clone(), id, bed.folder.path().join("nowhere")).await;
    assert!(matches!(error, NativeError::Bundle { .. }), "{error}");

    // Less than this process has is for whom the kernel lets.
    let bundle = bed.bundle(id, "true", |config| config["process"]["oomScoreAdj"] = (-999).into());
    match within(Native::create(&bed.runc, id, &bundle, Streams::default())).await {
        Ok(native) => assert_eq!(end(&native).await.status, 137),
        Err(error) => {
            let text = error.to_string();
            assert!(text.contains("-999") && text.contains("restrict_oom_score_adj"), "{text}");
        }
    }

    // Who has a name keeps it.
    let native = bed.create("native-taken", "busybox sleep 1000").await;
    let bundle = bed.folder.path().join("native-taken");
    let error = create(bed.runc.clone(), "native-taken", bundle).await;
    assert!(error.to_string().contains("already exists"), "{error}");
    assert_eq!(native.process().ended(), None);
    assert_eq!(end(&native).await.status, 137);
    bed.expect_nothing_left(&[id, "native-taken"]);
}
