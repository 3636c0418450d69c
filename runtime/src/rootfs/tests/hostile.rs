//! What unpacking does with archives that no honest tool would write.

use std::io::Write as _;

use tar::EntryType;

use super::*;

#[test]
fn no_path_leads_out_of_the_root() {
    for name in ["../canary", "a/../../canary", "/../canary", "a/.."] {
        assert!(refusal(&tar().file(name, "dead").end()).contains("leads upwards"), "{name}");
        assert!(refusal(&tar().dir(name).end()).contains("leads upwards"), "{name}");
        assert!(refusal(&tar().link(name, "x").end()).contains("leads upwards"), "{name}");
        assert!(refusal(&tar().told("path", name).file("x", "dead").end()).contains("upwards"));
        let hard = tar().file("x", "x").hard("y", name).end();
        assert!(refusal(&hard).contains("leads upwards"), "{name}");
    }
    // The root that it means is its own.
    assert_tree(&[tar().file("//canary", "dead").end()], &[("canary", "dead")]);
}

#[test]
fn a_whiteout_removes_only_what_a_name_can_be() {
    for name in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        assert!(refusal(&tar().file(name, "").end()).contains("no name"), "{name}");
    }
    assert!(refusal(&tar().file(".wh.a/f", "").end()).contains("what is removed"));
}

#[test]
fn devices_pipes_and_what_nobody_knows_are_refused_by_name() {
    for (form, what) in [
        (EntryType::Char, "a character device"),
        (EntryType::Block, "a block device"),
        (EntryType::Fifo, "a FIFO"),
        (EntryType::GNUSparse, "holes"),
        (EntryType::new(b'Z'), "not known"),
    ] {
        let said = refusal(&tar().dir("dev/").of(form, "dev/it", b"").end());
        assert!(said.contains("`dev/it`") && said.contains(what), "{said}");
    }
    let sparse = tar().told("GNU.sparse.major", "1").file("f", "").end();
    assert!(refusal(&sparse).contains("holes"));
}

#[test]
fn a_layer_that_unpacks_to_too_much_is_refused_before_it_does() {
    let bounds = Bounds { bytes: 3 << 20, bytes_free: 1 << 20, ratio: 100, entries: 10 };
    let zeros = "\0".repeat(2 << 20);
    for compression in [Compression::Gzip, Compression::Zstd] {
        let bomb = layer(&tar().file("zeros", &zeros).end(), compression);
        assert!(bomb.1.len() < 10_000);
        let error = Place::new().unpack(&[bomb], bounds).expect_err("too large");
        assert!(error.to_string().contains("too small for that much"), "{error}");
    }
    let large = layer(&tar().file("zeros", &zeros).end(), Compression::None);
    Place::new().unpack(std::slice::from_ref(&large), bounds).expect("it is as large as it says");
    let error = Place::new().unpack(&[large.clone(), large], bounds).expect_err("too large");
    assert!(error.to_string().contains("together"), "{error}");
    let flood = (0..11).fold(tar(), |archive, number| archive.dir(format!("d{number}")));
    let error = Place::new().unpack(&[layer(&flood.end(), Compression::None)], bounds);
    assert!(error.expect_err("too many").to_string().contains("more entries"));
    // What is told of no member at all counts as bytes do.
    let told = (0..3000).fold(tar(), |archive, _| archive.of(EntryType::XGlobalHeader, "g", b""));
    let error = Place::new().unpack(&[layer(&told.end(), Compression::Gzip)], bounds);
    assert!(matches!(error, Err(UnpackError::TooLarge { .. })), "{error:?}");
}

#[test]
fn a_window_of_gigabytes_is_refused() {
    let mut out = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("an encoder");
    out.window_log(28).expect("a window");
    out.write_all(&tar().file("f", "f").end()).expect("written");
    let blob = out.finish().expect("written");
    let compression = Compression::Zstd;
    let layer = Layer { blob: Descriptor::of("a/layer", &blob), compression, diff_id: None };
    let error = Place::new().unpack(&[(layer, blob)], Bounds::default());
    assert!(matches!(error, Err(UnpackError::Decompress { .. })), "{error:?}");
}

#[test]
fn what_readers_understand_differently_is_refused() {
    let two_sizes = tar().told("size", "1024").file("f", "inner").end();
    assert!(refusal(&two_sizes).contains("5 bytes by its header and 1024 by"));
    let hidden = tar().told("size", "512").raw(Tar::header(b"f", EntryType::Regular, 0), &[7; 512]);
    assert!(refusal(&hidden.end()).contains("0 bytes by its header and 512 by"));
    let mut header = Tar::header(b"d/", EntryType::Directory, 512);
    assert!(refusal(&tar().raw(header.clone(), &[7; 512]).end()).contains("512 bytes of it"));
    header.set_mtime(0);
    header.set_cksum();
    let mut archive = tar().file("a", "").end();
    archive.truncate(512 + 512);
    archive.extend(header.as_bytes());
    assert!(refusal(&archive).contains("looks like its end"));
    let long = |name: &[u8]| tar().of(EntryType::GNULongName, "././@LongLink", name);
    let both = long(b"a\0").told("path", "b").file("c", "");
    assert!(refusal(&both.end()).contains("two names"));
    let twice = long(b"a\0").of(EntryType::GNULongName, "x", b"b\0").file("c", "").end();
    assert!(refusal(&twice).contains("two long names"));
    assert!(refusal(&long(b"a\0").end()).contains("does not follow"));
    let global = tar().of(EntryType::XGlobalHeader, "g", b"10 path=x\n").file("f", "").end();
    assert!(refusal(&global).contains("`path` of all members"));
    let comment = tar().of(EntryType::XGlobalHeader, "g", b"13 comment=x\n").file("f", "").end();
    assert_tree(&[comment], &[("f", "")]);
    let mut header = Tar::header(b"f", EntryType::Regular, 0);
    header.set_cksum();
    header.as_old_mut().name[0] = b'g';
    assert!(refusal(header.as_bytes()).contains("checksum"));
}

#[test]
fn names_are_bounded_and_shown_on_one_line() {
    let told = |name: &[u8]| tar().told("path", name).file("f", "").end();
    assert!(refusal(&told(&[b'n'; 10_000])).contains("longer than 4096"));
    assert!(refusal(&told(&[b'n'; 256])).contains("longer than 255"));
    assert!(refusal(&told("d/".repeat(300).as_bytes())).contains("256 directories"));
    let said = refusal(&told(b"a\xff\n\x1b[2J"));
    assert!(said.contains(r"`a\xff\n\u{1b}[2J`") && said.contains("not UTF-8"), "{said}");
    assert!(refusal(&told(b"a\0b")).contains("zero in it"));
    assert!(refusal(&told(&[b'n'; 10_000])).len() < 500);
    // A gigabyte is not read to find that out.
    let header = Tar::header(b"././@LongLink", EntryType::GNULongName, 1 << 30);
    assert!(refusal(&tar().raw(header, b"short").end()).contains("1073741824 bytes, more than"));
    let header = Tar::header(b"x", EntryType::XHeader, 1 << 30);
    assert!(refusal(&tar().raw(header, b"short").end()).contains("1073741824 bytes, more than"));

    let long = "n".repeat(250);
    let path = format!("{long}/ü");
    let archive = tar().told("path", &path).told_nothing().file("f", "x").end();
    assert_tree(&[archive], &[(long.as_str(), "/"), (path.as_str(), "x")]);
    let deep = "d/".repeat(256);
    assert_eq!(unpacked(&[tar().told("path", &deep).dir("d").end()]).tree().len(), 256);
    // Attributes are any bytes, lines among them.
    let archive = tar().told("SCHILY.xattr.user.x", b"\0\n\xff\n").file("f", "x").end();
    assert_tree(&[archive], &[("f", "x")]);
}

#[test]
fn a_layer_that_is_not_what_its_image_says_is_found_out_whatever_else_is_wrong() {
    let archive = tar().file("f", &"text".repeat(1000)).file("g", "g").end();
    for compression in [Compression::None, Compression::Gzip, Compression::Zstd] {
        let (good, blob) = layer(&archive, compression);
        let said = |layer: &Layer, blob: Vec<u8>| {
            let done = Place::new().unpack(&[(layer.clone(), blob)], Bounds::default());
            match done.expect_err("it is broken") {
                UnpackError::Broken { reason, .. } => reason,
                other => panic!("{other}"),
            }
        };
        for at in 0..blob.len().min(64) {
            let mut flipped = blob.clone();
            flipped[at] ^= 4;
            assert!(said(&good, flipped).contains("its digest is"), "{compression:?} {at}");
        }
        let short = blob[..blob.len() - 1].to_vec();
        assert!(said(&good, short).contains("ends after"));
        let long = [&blob[..], b"x"].concat();
        assert!(said(&good, long).contains("longer than"));
        let other = Layer { diff_id: Some(Digest::of(b"other")), ..good.clone() };
        assert!(said(&other, blob.clone()).contains("unpacks to"));
        let unsaid = Layer { diff_id: None, ..good };
        Place::new().unpack(&[(unsaid, blob)], Bounds::default()).expect("nothing contradicts");
    }
}

#[test]
fn an_archive_that_ends_in_the_middle_is_refused() {
    let archive = tar().file("f", &"x".repeat(600)).end();
    for end in [100, 700, 512 + 600] {
        assert!(refusal(&archive[..end]).contains("ends in the middle"), "{end}");
    }
    // Some tools leave the end marker out.
    let place = Place::new();
    let done = place.unpack(&[layer(&archive[..512 + 1024], Compression::None)], Bounds::default());
    done.expect("all members are there");
    let cut = &compress(&archive, Compression::Gzip)[..40];
    let blob = Descriptor::of("a/layer", cut);
    let layer = Layer { blob, compression: Compression::Gzip, diff_id: None };
    let error = Place::new().unpack(&[(layer, cut.to_vec())], Bounds::default());
    assert!(matches!(error, Err(UnpackError::Decompress { .. })), "{error:?}");
}
