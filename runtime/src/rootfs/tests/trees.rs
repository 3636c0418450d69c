//! What unpacking makes of layers that tools do write.

use std::fs;

use tar::EntryType;

use crate::platform::Stamp;

use super::*;

#[test]
fn files_directories_and_links_are_what_the_archive_says_however_it_is_compressed() {
    let archive = tar().dir("./").dir("a/").file("./a/f", "text").link("a/l", "/a/f");
    let archive = archive.hard("/h", "a/f").file("b/c/empty", "").end();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let place = Place::new();
        let done = place.unpack(&[layer(&archive, compression)], Bounds::default());
        assert_eq!(done.expect("unpacked").entries, 6);
        let tree = place.tree();
        let expected = [("a", "/"), ("a/f", "text"), ("a/l", "-> ../a/f"), ("h", "text")];
        let implied = [("b", "/"), ("b/c", "/"), ("b/c/empty", "")];
        let all = expected.into_iter().chain(implied);
        assert_eq!(tree, all.map(|(path, what)| (path.to_owned(), what.to_owned())).collect());
        let stamp = Stamp { seconds: 1_700_000_000, nanos: 0 };
        let modified = |name| place.root().status(name).expect("known").expect("it is").modified;
        assert_eq!(modified("h"), stamp);
        if place.knows_modes() {
            assert_eq!((modified("a"), modified("b")), (stamp, stamp));
            assert_eq!(place.root().status("h").expect("known").expect("it is").names, 2);
        }
    }
}

#[test]
fn several_members_of_gzip_and_frames_of_zstd_are_one_layer() {
    let archive = tar().file("a", "one").file("b", "two").end();
    for compression in [Compression::Gzip, Compression::Zstd] {
        let halves = archive.split_at(700);
        let blob = [compress(halves.0, compression), compress(halves.1, compression)].concat();
        let diff_id = Some(Digest::of(&archive));
        let layer = Layer { blob: Descriptor::of("a/layer", &blob), compression, diff_id };
        let place = Place::new();
        place.unpack(&[(layer, blob)], Bounds::default()).expect("unpacked");
        assert_eq!(place.tree().len(), 2);
    }
}

#[test]
fn what_is_behind_a_link_is_looked_for_in_the_image() {
    let outside = tempfile::tempdir().expect("a directory");
    let target = outside.path().to_str().expect("Unicode").to_owned();
    for target in [target.as_str(), "../", "..", "../../../..", "/"] {
        let place =
            unpacked(&[tar().link("out", target).file("out/f", "in").link("out/f", "x").end()]);
        let found = place.tree();
        assert!(found.values().any(|what| what == "-> x"), "{target}: {found:?}");
    }
    assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0);
    // So do distributions whose `/lib` is a link.
    let merged = tar().dir("usr/").dir("usr/lib/").link("lib", "usr/lib").end();
    let above = tar().file("lib/x", "x").hard("lib/y", "lib/x").end();
    let expected = [
        ("usr", "/"),
        ("usr/lib", "/"),
        ("lib", "-> usr/lib"),
        ("usr/lib/x", "x"),
        ("usr/lib/y", "x"),
    ];
    assert_tree(&[merged, above], &expected);
    let circle = tar().link("a", "b").link("b", "a").file("a/f", "").end();
    assert!(refusal(&circle).contains("too many links"));
}

#[test]
fn a_hard_link_leads_to_what_the_image_has() {
    for (target, reason) in [
        ("canary", "not there"),
        ("/canary", "not there"),
        ("d/missing/x", "not there"),
        ("d", "a directory"),
        ("new", "not there"),
        (".", "not there"),
        ("", "no name"),
        ("f/x", "not a directory"),
        ("link/canary", "not there"),
    ] {
        let archive = tar().dir("d/").file("f", "f").link("link", "..").hard("new", target).end();
        let said = refusal(&archive);
        assert!(said.contains(reason), "{target}: {said}");
    }
    assert!(refusal(&tar().file("f", "f").hard("f", "./f").end()).contains("itself"));
    // The link itself gets one more name, wherever it leads.
    let archive = tar().link("l", "../../canary").hard("m", "l").end();
    assert_tree(&[archive], &[("l", "-> canary"), ("m", "-> canary")]);
    // Whoever writes to a name of the layer above does not write to the one below.
    let archives = [tar().file("f", "below").hard("g", "f").end(), tar().file("g", "above").end()];
    assert_tree(&archives, &[("f", "below"), ("g", "above")]);
}

#[test]
fn a_layer_removes_what_is_below_it_and_nothing_of_its_own() {
    let below = || tar().file("a/x", "").file("a/y", "").file("b/c/z", "").link("l", "/").end();
    let all = [("a", "/"), ("a/x", ""), ("a/y", ""), ("b", "/"), ("b/c", "/"), ("b/c/z", "")];
    let with = |added: &[(&'static str, &'static str)], without: &[&str]| -> Vec<_> {
        let kept = all.iter().chain([&("l", "-> .")]).chain(added).copied();
        kept.filter(|(path, _)| !without.contains(path)).collect()
    };
    assert_tree(&[below(), tar().file("a/.wh.x", "").end()], &with(&[], &["a/x"]));
    assert_tree(&[below(), tar().file(".wh.b", "").end()], &with(&[], &["b", "b/c", "b/c/z"]));
    assert_tree(&[below(), tar().file("no/.wh.x", "").file(".wh.no", "").end()], &with(&[], &[]));
    // The link is removed, and not what it leads to; behind it, what it leads to.
    assert_tree(&[below(), tar().file(".wh.l", "").end()], &all);
    assert_tree(&[below(), tar().file("l/a/.wh.x", "").end()], &with(&[], &["a/x"]));
    // Whatever the order is in which it tells of both.
    for archive in [
        tar().file("a/.wh..wh..opq", "").file("a/new", "new"),
        tar().file("a/new", "new").file("a/.wh..wh..opq", ""),
    ] {
        assert_tree(&[below(), archive.end()], &with(&[("a/new", "new")], &["a/x", "a/y"]));
    }
    let archive = tar().file("b/c/new", "").file("b/.wh.c", "").end();
    assert_tree(&[below(), archive], &with(&[("b/c/new", "")], &["b/c/z"]));
    let archive = tar().file("b/c/new", "").file(".wh..wh..opq", "").end();
    assert_tree(&[below(), archive], &[("b", "/"), ("b/c", "/"), ("b/c/new", "")]);
    // Nothing is below the lowest.
    let lowest = tar().file("a", "").file(".wh.a", "").file(".wh..wh..opq", "").end();
    assert_tree(&[lowest], &[("a", "")]);
    assert_tree(
        &[below(), tar().file(".wh..wh.aufs", "").dir(".wh..wh.plnk/").end()],
        &with(&[], &[]),
    );
}

#[test]
fn what_comes_later_replaces_what_was_there() {
    let archives = [
        tar().file("f", "").dir("d/").file("d/x", "x").link("l", "d").dir("kept/").end(),
        tar().dir("f/").file("f/y", "y").file("d", "file").dir("l/").link("kept", "f").end(),
    ];
    let expected = [("f", "/"), ("f/y", "y"), ("d", "file"), ("l", "/"), ("kept", "-> f")];
    assert_tree(&archives, &expected);
    let twice = tar().file("f", "first").link("f", "/etc").file("f", "last").end();
    assert_tree(&[twice], &[("f", "last")]);
    assert!(refusal(&tar().file("f", "").file("f/x", "").end()).contains("not a directory"));
}

#[test]
fn no_file_lends_its_owners_rights_and_the_owner_can_use_all() {
    let with_mode = |archive: Tar, name: &[u8], form, mode| {
        let mut header = Tar::header(name, form, 0);
        header.set_mode(mode);
        archive.raw(header, b"")
    };
    let archive = with_mode(tar(), b"su", EntryType::Regular, 0o6755);
    let archive = with_mode(archive, b"sticky", EntryType::Regular, 0o1777);
    let archive = with_mode(archive, b"none", EntryType::Regular, 0);
    let archive = with_mode(archive, b"tmp", EntryType::Directory, 0o1777);
    let archive = with_mode(archive, b"shared", EntryType::Directory, 0o2070);
    let place = unpacked(&[archive.file("shared/f", "f").end()]);
    if place.knows_modes() {
        let expected =
            [("su", 0o755), ("sticky", 0o777), ("none", 0o600), ("tmp", 0o1777), ("shared", 0o770)];
        for (name, mode) in expected {
            let found = place.root().status(name).expect("known").expect("it is").mode;
            assert_eq!(found, mode, "{name}: {found:o}");
        }
    }
}
