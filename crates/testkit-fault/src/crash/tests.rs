use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::*;
use crate::trace::FileId;

const FILE: FileId = FileId(1);

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn write(offset: u64, data: &[u8]) -> Op {
    Op::Write { file: FILE, offset, data: data.to_vec() }
}

fn sync() -> Op {
    Op::Sync { file: FILE }
}

fn create(name: &str) -> Op {
    Op::Create { file: FILE, path: path(name) }
}

fn sync_directory() -> Op {
    Op::SyncDirectory { path: "/d".into() }
}

/// A disk that has had the file for long.
fn disk(bytes: &[u8]) -> Disk {
    Disk::default().with_file(FILE, path("f"), bytes.to_vec())
}

fn losses(disk: Disk, ops: &[Op], wanted: u64) -> Vec<Loss> {
    Losses::new(disk, ops, wanted, 7).collect()
}

/// What the file may hold after all of `ops`.
fn left(disk: Disk, ops: &[Op], wanted: u64) -> BTreeSet<Vec<u8>> {
    let all = losses(disk, ops, wanted).into_iter().filter(|loss| loss.cut == ops.len());
    all.map(|loss| loss.files[&path("f")].to_vec()).collect()
}

fn texts(all: &BTreeSet<Vec<u8>>) -> Vec<&str> {
    all.iter().map(|bytes| std::str::from_utf8(bytes).unwrap()).collect()
}

#[test]
fn what_was_synced_stays_and_of_the_rest_any_part_may() {
    let ops = [write(0, b"A"), sync(), write(1, b"B"), write(2, b"C")];
    let left = left(disk(b"..."), &ops, 200);
    assert_eq!(texts(&left), ["A..", "A.C", "AB.", "ABC"]);
    assert_eq!(least(disk(b"..."), &ops).files[&path("f")].to_vec(), b"A..");
}

#[test]
fn a_store_that_does_not_sync_loses_what_it_said_was_there() {
    let ops = [write(0, b"A"), sync(), Op::Mark(1), write(1, b"B"), sync(), Op::Mark(2)];
    let lost = |ops: &[Op]| {
        losses(disk(b".."), ops, 50).iter().any(|loss| match loss.marks {
            0 => false,
            1 => loss.files[&path("f")].to_vec()[0] != b'A',
            _ => loss.files[&path("f")].to_vec() != b"AB",
        })
    };
    assert!(!lost(&ops));
    assert!(lost(&without_syncs(&ops)));
}

#[test]
fn a_write_is_torn_where_the_disk_s_sectors_end() {
    let data: Vec<u8> = [[b'x'; 100], [b'y'; 100]].concat();
    // The first 100 bytes are of one sector, the others of the next.
    let ops = [write(SECTOR as u64 - 100, &data)];
    let left = left(disk(&[0; 2 * SECTOR]), &ops, 400);
    let seen: BTreeSet<(u8, u8)> = left.iter().map(|bytes| (bytes[SECTOR - 1], bytes[SECTOR])).collect();
    assert_eq!(seen, [(0, 0), (0, b'y'), (b'x', 0), (b'x', b'y')].into());
    assert_eq!(left.len(), 4, "no sector is torn itself");
}

#[test]
fn a_length_may_be_there_without_the_bytes() {
    let left = left(disk(b""), &[write(0, b"ab")], 100);
    assert_eq!(left, [b"".to_vec(), vec![0, 0], b"ab".to_vec()].into());
}

#[test]
fn a_cut_takes_the_bytes_away_for_good() {
    let set_len = |len| Op::SetLen { file: FILE, len };
    let ops = [set_len(1), set_len(3), sync()];
    assert_eq!(left(disk(b"abc"), &ops, 9), [b"a\0\0".to_vec()].into());
}

#[test]
fn a_name_is_there_for_certain_when_its_directory_was_synced() {
    let ops = [create("f"), write(0, b"A"), sync(), Op::Mark(1), sync_directory(), Op::Mark(2)];
    let lost = |rule, marks| {
        let all = losses(Disk::new(rule), &ops, 100);
        all.iter().any(|loss| loss.marks == marks && !loss.files.contains_key(&path("f")))
    };
    assert!(lost(Names::AfterTheirDirectory, 1));
    assert!(!lost(Names::AfterTheirDirectory, 2));
    assert!(!lost(Names::AfterTheirFile, 1));
}

#[test]
fn a_file_is_linked_renamed_and_removed_in_one_step_each() {
    let ops = [
        create("new"),
        write(0, b"A"),
        sync(),
        Op::Link { file: FILE, path: path("f") },
        Op::Remove { path: path("new") },
    ];
    let seen = |ops: &[Op]| -> BTreeSet<Vec<PathBuf>> {
        let all = losses(Disk::default(), ops, 300).into_iter().filter(|loss| loss.cut == ops.len());
        all.map(|loss| loss.files.into_keys().collect()).collect()
    };
    let (new, f) = (path("new"), path("f"));
    let any: BTreeSet<Vec<PathBuf>> =
        [vec![], vec![f.clone()], vec![new.clone()], vec![f.clone(), new]].into();
    assert_eq!(seen(&ops), any);
    assert_eq!(seen(&[&ops[..], &[sync_directory()]].concat()), [vec![f]].into());
    let rename = [create("new"), sync_directory(), Op::Rename { from: path("new"), to: path("f") }];
    assert_eq!(seen(&rename), [vec![path("new")], vec![path("f")]].into());
}

#[test]
fn what_was_done_to_a_file_that_is_gone_is_uncertain_no_more() {
    let ops = [write(0, b"A"), Op::Remove { path: path("f") }, sync_directory()];
    let last = losses(disk(b"."), &ops, 50).pop().unwrap();
    assert_eq!((last.uncertain, last.files.len()), (0, 0));
}

#[test]
fn each_cut_has_its_turn_and_there_are_as_many_losses_as_wanted() {
    let ops: Vec<Op> = (0..20)
        .flat_map(|n| [write(n, b"x"), write(n + 1, b"y"), write(n + 2, b"z"), sync(), Op::Mark(n + 1)])
        .collect();
    for wanted in [3, 40, 200, 1_000, 5_000] {
        let all = losses(disk(&[0; 64]), &ops, wanted);
        assert!(all.len().abs_diff(usize::try_from(wanted).unwrap()) <= 1, "{} of {wanted}", all.len());
        let cuts: BTreeSet<usize> = all.iter().map(|loss| loss.cut).collect();
        assert!(wanted < 1_000 || cuts.len() == ops.len() + 1, "{} cuts", cuts.len());
        let again = losses(disk(&[0; 64]), &ops, wanted);
        assert!(all.iter().zip(&again).all(|(a, b)| (a.cut, &a.files) == (b.cut, &b.files)));
    }
}

#[test]
fn an_image_is_what_a_plain_buffer_would_be() {
    let mut random = fastrand::Rng::with_seed(3);
    let mut plain = vec![7; 3 * PAGE + 5];
    let mut image = Image::from(plain.clone());
    for round in 0..2_000 {
        let at = random.usize(..5 * PAGE);
        match random.u8(..12) {
            0 => {
                plain.resize(at, 0);
                image.set_len(at as u64);
            }
            1 => image.settle(),
            2 => image = image.clone(),
            _ => {
                let data = vec![random.u8(..); random.usize(1..2 * PAGE)];
                plain.resize(plain.len().max(at + data.len()), 0);
                plain[at..at + data.len()].copy_from_slice(&data);
                image.write(at as u64, &data);
            }
        }
        assert!(image.to_vec() == plain, "round {round}");
        let start = random.usize(..=plain.len());
        let mut out = vec![1; random.usize(..=plain.len() - start)];
        assert!(image.read(start as u64, &mut out));
        assert!(out == plain[start..start + out.len()], "round {round}");
    }
    assert!(!image.read(image.len(), &mut [0]));
    assert!(image.is_empty() || image.flip(0, 3));
}
