//! Minari datasets stored as Arrow and Parquet: equal to the same dataset in HDF5, to the bit; and what else such files may
//! hold. `fixtures/make_fixtures.py` says which versions of Minari and pyarrow wrote them.

mod common;

use baq_datasets::backend::Backend as _;
use baq_datasets::backend::arrow::ArrowFile;
use baq_datasets::{Options, Recording, convert, minari, read_recording};
use common::{check_formulas, fixture, next};
use std::path::{Path, PathBuf};

const KINDS: [&str; 2] = ["arrow", "parquet"];

fn dataset(name: &str) -> PathBuf {
    fixture("minari/tables").join(name)
}

fn read(path: &Path) -> Recording {
    read_recording(path, &Options::default()).unwrap_or_else(|e| panic!("{e}"))
}

/// Everything but the origin, as bits.
fn bits(r: &Recording) -> impl PartialEq + std::fmt::Debug + use<> {
    let all = [Some(&r.observations), Some(&r.actions), r.next_observations.as_ref()];
    let matrices = all.map(|m| m.map(|m| (m.dim(), m.iter().map(|x| x.to_bits()).collect::<Vec<u32>>())));
    let rewards: Vec<u32> = r.rewards.iter().map(|x| x.to_bits()).collect();
    let flags = (r.terminals.clone(), r.timeouts.clone(), r.group_ends.clone());
    (matrices, rewards, flags, r.algorithm.clone(), r.action_space.clone())
}

/// A copy that may be damaged.
fn copy(name: &str) -> tempfile::TempDir {
    fn tree(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).expect("create");
        for entry in std::fs::read_dir(from).expect("a fixture") {
            let path = entry.expect("an entry").path();
            let target = to.join(path.file_name().expect("named"));
            if path.is_dir() { tree(&path, &target) } else { _ = std::fs::copy(&path, target).expect("copy") }
        }
    }
    let folder = tempfile::tempdir().expect("temporary folder");
    tree(&dataset(name), folder.path());
    folder
}

fn refused(folder: &Path, pieces: &[&str]) {
    let text = minari::read(folder, false).expect_err("refused").to_string();
    assert!(text.starts_with(&folder.display().to_string()) && !text.contains('\n'), "{text}");
    assert!(text.contains("expected") && text.contains("got") || text.contains("damaged"), "{text}");
    for piece in pieces {
        assert!(text.contains(piece), "no `{piece}` in: {text}");
    }
}

#[test]
fn vectors_follow_the_formulas() {
    let twin = read(&fixture("minari/toy/fixture-v0"));
    for kind in KINDS {
        let path = dataset(&format!("toy-{kind}-v0"));
        let got = read(&path);
        assert_eq!(got.len(), 60);
        check_formulas(kind, &got);
        assert_eq!(bits(&got), bits(&twin), "{kind}");
        assert_eq!(got.source.path, path.join("data").display().to_string());
        assert_eq!(read(&path.join("data")), got, "{kind}: the folder inside");
    }
}

#[test]
fn dictionaries_are_flattened_as_in_hdf5_and_episodes_follow_their_numbers() {
    let twin = read(&dataset("goals-hdf5-v0"));
    assert_eq!(
        (twin.len(), twin.obs_dim(), twin.episodes(baq_datasets::TimeLimit::Unknown).len()),
        (21, 11, 11)
    );
    for kind in KINDS {
        let got = read(&dataset(&format!("goals-{kind}-v0")));
        assert_eq!(bits(&got), bits(&twin), "{kind}");
    }
    let names = KINDS.map(|kind| baq_datasets::short_name(&dataset(&format!("goals-{kind}-v0"))));
    assert_eq!(names, ["tables-goals-arrow-v0", "tables-goals-parquet-v0"]);
}

#[test]
fn what_is_left_out_of_episodes_is_noted() {
    let note = "left out, as training does not use it: infos/inner, infos/name, infos/qpos";
    for name in ["goals-hdf5-v0", "goals-arrow-v0", "goals-parquet-v0"] {
        let notes = |got: Recording| got.notes.iter().filter(|n| *n == note).count();
        let got = convert::read(&dataset(name), &convert::Options::default()).expect("good").recording;
        assert_eq!((notes(got), notes(read(&dataset(name)))), (1, 0), "{name}");
    }
}

#[test]
fn conversions_and_checksums() {
    for kind in KINDS {
        let folder = copy(&format!("goals-{kind}-v0"));
        let source = read(folder.path()).source;
        let files = (0..11).map(|k| folder.path().join(format!("data/{k}/part-0.{kind}")));
        let bytes: u64 = files.map(|file| std::fs::metadata(file).expect("there").len()).sum();
        assert_eq!((source.bytes, source.sha256.len()), (bytes, 64));
        let direct = convert::read(folder.path(), &convert::Options::default()).expect("good").recording;
        let out = folder.path().join("out.npz");
        let mut file = std::fs::File::create(&out).expect("create");
        baq_datasets::write::recording(baq_datasets::Format::Npz, &out, &direct, &mut file).expect("written");
        let back = read(&out);
        assert_eq!((&back.observations, &back.timeouts), (&direct.observations, &direct.timeouts));
        // Two episodes change places: the same bytes in another order.
        let [a, b, aside] = ["data/1", "data/4", "data/x"].map(|name| folder.path().join(name));
        for (from, to) in [(&a, &aside), (&b, &a), (&aside, &b)] {
            std::fs::rename(from, to).expect("rename");
        }
        let moved = read(folder.path()).source;
        assert!(moved.bytes == source.bytes && moved.sha256 != source.sha256);
    }
}

#[test]
fn what_is_wrong_with_a_folder_is_named() {
    for kind in KINDS {
        let part = |k: u32| format!("data/{k}/part-0.{kind}");
        let folder = copy(&format!("goals-{kind}-v0"));
        let path = folder.path();
        let at = |name: &str| path.join(name);
        let whole = std::fs::read(at(&part(2))).expect("there");
        std::fs::remove_file(at(&part(2))).expect("remove");
        refused(path, &["data/2", "one file, part-0.", "got none"]);
        std::fs::write(at(&part(2)), &whole[..whole.len() / 2]).expect("write");
        refused(path, &[&part(2), "cut short", "fetch it again"]);
        std::fs::write(at(&part(2)), b"").expect("write");
        refused(path, &[&part(2), "Parquet", "an empty file"]);
        std::fs::write(at(&part(2)), b"version https://git-lfs.github.com/spec/v1\n").expect("write");
        refused(path, &[&part(2), "git-lfs pointer"]);
        std::fs::write(at(&part(2)), &whole).expect("write");
        std::fs::write(at(&format!("data/2/part-1.{kind}")), &whole).expect("write");
        refused(path, &["data/2", "got 2 (part-0.", "part-1."]);
        std::fs::remove_file(at(&format!("data/2/part-1.{kind}"))).expect("remove");
        read(path);

        // An episode of another length than its own file says, and one that has other columns.
        std::fs::write(at("data/2/metadata.json"), "{\"id\": 2, \"total_steps\": 7}").expect("write");
        refused(path, &[&part(2), "`rewards`", "(7 + 1,)", "metadata.json", "got [4]"]);
        std::fs::copy(fixture("tables").join(format!("plain.{kind}")), at(&part(4))).expect("copy");
        let skip = convert::Options { skip_bad: true, ..convert::Options::default() };
        let converted = convert::read(path, &skip).expect("two are left out");
        let reasons: Vec<_> =
            converted.skipped.reasons().map(|(reason, episodes, _)| (reason, episodes)).collect();
        assert_eq!(reasons, [("columns of other lengths", 1), ("columns that are missing", 1)]);
        assert_eq!(converted.recording.len(), 21 - 3 - 2);
        std::fs::remove_file(at("data/2/metadata.json")).expect("remove");
        refused(path, &[&part(4), "`rewards`", "it has: byte, count, flags", "--skip-bad"]);
        std::fs::remove_dir_all(at("data/4")).expect("remove");
        refused(path, &["`total_episodes`", "expected 10", "episode folders", "got 11"]);

        let file = dataset(&format!("toy-{kind}-v0")).join(part(0));
        let text = read_recording(&file, &Options::default()).expect_err("one episode").to_string();
        assert!(
            text.contains("expected an HDF5 file") && text.contains("folder of the Minari dataset"),
            "{text}"
        );
    }
}

fn table(name: &str) -> ArrowFile {
    ArrowFile::open(&fixture("tables").join(name)).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn every_form_of_a_table_holds_the_same() {
    let n = 40;
    let matrix: Vec<f32> = (0..n * 3).map(|i| (i % 17) as f32 / 8.0 - 1.0).collect();
    for name in [
        "plain.arrow",
        "batches.arrow",
        "plain.parquet",
        "dictionary.parquet",
        "groups.parquet",
        "pages.parquet",
        "second.parquet",
        "bare.parquet",
    ] {
        let file = table(name);
        assert_eq!(
            file.children("").expect("root"),
            ["byte", "count", "flags", "inner", "matrix", "text"],
            "{name}"
        );
        assert_eq!(file.children("inner").expect("a tuple"), ["_index_0", "_index_1"], "{name}");
        let shape = |key: &str| file.info(key).expect("readable").expect("there").shape;
        assert_eq!(
            (shape("matrix"), shape("flags"), shape("inner/_index_0")),
            (vec![40, 3], vec![40], vec![40])
        );
        for key in ["matrix", "inner/_index_1"] {
            assert_eq!(file.read_f32(key).expect("floats"), matrix, "{name} {key}");
        }
        let quarters: Vec<f64> = (0..n).map(|i| i as f64 / 4.0).collect();
        assert_eq!(file.read_f64("inner/_index_0").expect("floats"), quarters, "{name}");
        let flags: Vec<bool> = (0..n).map(|i| i % 5 == 4).collect();
        assert_eq!(file.read_flags("flags").expect("flags"), flags, "{name}");
        let odd: Vec<bool> = (0..n).map(|i| i % 2 == 1).collect();
        assert_eq!(file.read_flags("byte").expect("integers"), odd, "{name}");
        for (key, pieces) in [
            ("count", ["0 or 1", "got -3 in row 0"]),
            ("text", ["flags (bool, integer or float)", "string"]),
            ("flag", ["`flag`", "nearly that name"]),
        ] {
            let text = file.read_flags(key).expect_err(key).to_string();
            assert!(pieces.iter().all(|p| text.contains(p)) || key == "flag", "{name}: {text}");
        }
        assert!(file.read_f32("count").expect_err("integers").to_string().contains("f32 or f64"), "{name}");
        assert!(file.info("nothing").expect("absent").is_none());
    }
}

#[test]
fn nulls_are_no_numbers_and_what_is_not_read_is_named() {
    for name in ["holes.arrow", "holes.parquet"] {
        let file = table(name);
        let seen = |key: &str| -> Vec<Option<f32>> {
            file.read_f32(key).expect("floats").into_iter().map(|x| Some(x).filter(|x| !x.is_nan())).collect()
        };
        assert_eq!(seen("scalar"), [Some(1.0), None, Some(3.0)], "{name}");
        assert_eq!(seen("list"), [Some(1.0), Some(2.0), None, Some(4.0), Some(5.0), Some(6.0)], "{name}");
        assert!(
            file.read_flags("flags").expect_err("a null").to_string().contains("got NaN in row 1"),
            "{name}"
        );
        let text = file.read_f32("ragged").expect_err("of different lengths").to_string();
        let why = if name.ends_with(".arrow") { "list of variable length" } else { "rows differ in length" };
        assert!(text.contains("`ragged`") && text.contains(why), "{name}: {text}");
    }
    let unread = |name: &str, key: &str, got: &str| {
        let file = fixture("tables").join(name);
        let read = ArrowFile::open(&file).and_then(|file| file.read_f32(key));
        let text = read.expect_err("not read").to_string();
        assert!(text.contains(got) && text.contains("pyarrow's defaults") && !text.contains('\n'), "{text}");
    };
    unread("lz4.arrow", "matrix", "got LZ4");
    unread("zstd.parquet", "matrix", "got Zstandard");
    unread("split.parquet", "x", "byte stream split");
}

/// Every column is asked for in every way; errors are one line, and nothing panics.
fn survive(name: &str, bytes: &[u8]) -> bool {
    fn told<T>(result: baq_datasets::Result<T>) -> bool {
        if let Err(error) = &result {
            let text = error.to_string();
            assert!(text.starts_with("damaged") && !text.contains(char::is_control), "{text}");
        }
        result.is_err()
    }
    let file = match ArrowFile::from_bytes("damaged", bytes) {
        Ok(file) => file,
        error => return told(error),
    };
    let keys =
        ["byte", "count", "flags", "inner/_index_0", "inner/_index_1", "matrix", "text", "scalar", "list"];
    let mut refused = false;
    for key in keys {
        refused |= told(file.info(key));
        refused |= told(file.read_f32(key))
            && !["byte", "count", "flags", "text"].contains(&key)
            && file.info(key).is_err();
        told(file.read_flags(key));
    }
    assert!(file.children("").is_ok(), "{name}");
    refused
}

/// A run of nulls is a few bytes, whatever its length: how many there are is held against the page.
#[test]
fn a_page_of_more_values_than_there_can_be_is_refused() {
    fn number(mut n: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while n > 127 {
            out.push(n as u8 & 127 | 128);
            n >>= 7;
        }
        out.push(n as u8);
        out
    }
    // Fields of a structure in Thrift's compact form: number, type, content.
    fn structure(fields: &[(u8, u8, Vec<u8>)]) -> Vec<u8> {
        let (mut out, mut last) = (Vec::new(), 0);
        for (id, kind, content) in fields {
            out.push((id - last) << 4 | kind);
            out.extend(content);
            last = *id;
        }
        out.push(0);
        out
    }
    let int = |n: u64| number(n << 1);
    let text = |t: &str| [number(t.len() as u64), t.as_bytes().to_vec()].concat();
    let list = |kind: u8, items: &[Vec<u8>]| [vec![(items.len() as u8) << 4 | kind], items.concat()].concat();
    let file = |n: u64| {
        let run = [number(n << 1), vec![0]].concat();
        let page = [(run.len() as u32).to_le_bytes().to_vec(), run].concat();
        let data = structure(&[(1, 5, int(n)), (2, 5, int(0)), (3, 5, int(3)), (4, 5, int(3))]);
        let size = int(page.len() as u64);
        let header = structure(&[(1, 5, int(0)), (2, 5, size.clone()), (3, 5, size), (5, 12, data)]);
        let chunk = [header, page].concat();
        let bytes = int(chunk.len() as u64);
        let meta = structure(&[
            (1, 5, int(5)),
            (2, 9, list(5, &[int(0)])),
            (3, 9, list(8, &[text("x")])),
            (4, 5, int(0)),
            (5, 6, int(n)),
            (6, 6, bytes.clone()),
            (7, 6, bytes),
            (9, 6, int(4)),
        ]);
        let column = structure(&[(2, 6, int(4)), (3, 12, meta)]);
        let group = structure(&[(1, 9, list(12, &[column])), (2, 6, int(100)), (3, 6, int(n))]);
        let schema = [
            structure(&[(4, 8, text("schema")), (5, 5, int(1))]),
            structure(&[(1, 5, int(5)), (3, 5, int(1)), (4, 8, text("x"))]),
        ];
        let footer = structure(&[
            (1, 5, int(1)),
            (2, 9, list(12, &schema)),
            (3, 6, int(n)),
            (4, 9, list(12, &[group])),
        ]);
        let length = (footer.len() as u32).to_le_bytes();
        [&b"PAR1"[..], &chunk, &footer, &length, b"PAR1"].concat()
    };
    let read = |n: u64| ArrowFile::from_bytes("nulls", &file(n)).and_then(|table| table.read_f32("x"));
    let few = read(1000).expect("a page of nulls");
    assert!(few.len() == 1000 && few.iter().all(|x| x.is_nan()));
    for n in [64 << 20, 1 << 40] {
        let error = read(n).expect_err("more than can be").to_string();
        assert!(error.contains("`x`") && error.contains("than its bytes can hold"), "{error}");
    }
}

#[test]
fn damaged_tables_are_survived() {
    let mut names: Vec<PathBuf> = std::fs::read_dir(fixture("tables"))
        .expect("fixtures")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    names.sort();
    let (mut state, mut total, mut refused) = (7, 0, 0);
    for path in names {
        let name = path.display().to_string();
        let whole = std::fs::read(&path).expect("a fixture");
        for length in (0..whole.len()).step_by(13) {
            assert!(survive(&name, &whole[..length]), "{name}: cut to {length} bytes and read");
        }
        for number in 0..600 {
            let mut bytes = whole.clone();
            // Descriptions stand at the end of both formats.
            let from = if number % 2 == 0 { 0 } else { whole.len() / 2 };
            for _ in 0..=next(&mut state) % 3 {
                let at = from + next(&mut state) as usize % (whole.len() - from);
                bytes[at] = match next(&mut state) % 3 {
                    0 => [0, 1, 0x7f, 0x80, 0xff][next(&mut state) as usize % 5],
                    1 => bytes[at] ^ (1 << (next(&mut state) % 8)),
                    _ => next(&mut state) as u8,
                };
            }
            total += 1;
            refused += usize::from(survive(&name, &bytes));
        }
    }
    println!("{total} damaged tables, {refused} refused");
    assert!(refused * 5 > total, "{refused} of {total}");
}
