//! Own data: NumPy's archives, tables, dictionaries, OGBench's layout; what `baq data convert` does with them.

mod common;

use baq_datasets::backend::csv::CsvFile;
use baq_datasets::backend::npz::NpzFile;
use baq_datasets::convert::{self, Actions, Converted};
use baq_datasets::{Format, Layout, Mode, Options, Recording, d4rl, embedded_hopper, read_recording, write};
use common::fixture;
use std::io::{Cursor, Write as _};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// An array of NumPy's: type, shape with its parentheses, bytes.
type Array<'a> = (&'a str, &'a str, &'a str, Vec<u8>);

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn npz(arrays: &[Array], compression: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (key, descr, shape, bytes) in arrays {
        zip.start_file(format!("{key}.npy"), SimpleFileOptions::default().compression_method(compression))
            .expect("entry");
        let fortran = if descr.ends_with('F') { "True" } else { "False" };
        let descr = descr.trim_end_matches('F');
        let text = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n");
        zip.write_all(b"\x93NUMPY\x01\x00").expect("magic");
        zip.write_all(&(text.len() as u16).to_le_bytes()).expect("length");
        zip.write_all(text.as_bytes()).expect("header");
        zip.write_all(bytes).expect("elements");
    }
    zip.finish().expect("archive").into_inner()
}

/// Four rows, S = 2, A = 1.
fn small() -> Vec<Array<'static>> {
    vec![
        ("observations", "<f4", "(4, 2)", floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])),
        ("actions", "<f4", "(4, 1)", floats(&[0.5, -0.5, 1.0, -1.0])),
        ("rewards", "<f4", "(4,)", floats(&[1.0, 2.0, 3.0, 4.0])),
        ("terminals", "|b1", "(4,)", vec![0, 1, 0, 0]),
    ]
}

fn with<'a>(mut arrays: Vec<Array<'a>>, array: Array<'a>) -> Vec<Array<'a>> {
    arrays.retain(|a| a.0 != array.0);
    arrays.push(array);
    arrays
}

fn without(mut arrays: Vec<Array<'static>>, key: &str) -> Vec<Array<'static>> {
    arrays.retain(|a| a.0 != key);
    arrays
}

fn read(arrays: &[Array]) -> baq_datasets::Result<Recording> {
    d4rl::read_bytes_with::<NpzFile>("mine.npz", &npz(arrays, CompressionMethod::Stored), false)
}

fn table(text: &str) -> baq_datasets::Result<Recording> {
    d4rl::read_bytes_with::<CsvFile>("mine.csv", text.as_bytes(), false)
}

fn refused(result: baq_datasets::Result<impl std::fmt::Debug>, pieces: &[&str]) {
    let text = result.expect_err("refused").to_string();
    assert!(!text.contains('\n') && text.starts_with("mine."), "{text}");
    for piece in pieces {
        assert!(text.contains(piece), "no `{piece}` in: {text}");
    }
}

/// A file in a folder of its own, converted.
fn converted(name: &str, bytes: &[u8], options: &convert::Options) -> baq_datasets::Result<Converted> {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("write");
    convert::read(&path, options)
}

#[test]
fn archives_of_every_kind_are_read() {
    let plain = read(&small()).expect("an archive");
    assert_eq!((plain.len(), plain.obs_dim(), plain.act_dim()), (4, 2, 1));
    assert_eq!(plain.terminals, [false, true, false, false]);
    assert!(plain.timeouts.is_none() && plain.next_observations.is_none());
    let packed = npz(&small(), CompressionMethod::Deflated);
    let mut packed = d4rl::read_bytes_with::<NpzFile>("mine.npz", &packed, false).expect("compressed");
    packed.source = plain.source.clone();
    assert_eq!(packed, plain);
    let wide: Vec<u8> = (0..8).flat_map(|x| f64::from(x).to_be_bytes()).collect();
    let turned = floats(&[0.0, 2.0, 4.0, 6.0, 1.0, 3.0, 5.0, 7.0]);
    let whole: Vec<u8> = [0i64, 1, 0, 0].iter().flat_map(|x| x.to_le_bytes()).collect();
    for array in [
        ("observations", ">f8", "(4, 2)", wide),
        ("observations", "<f4F", "(4, 2)", turned),
        ("terminals", "<i8", "(4,)", whole),
        ("terminals", "<f4", "(4, 1)", floats(&[0.0, 1.0, 0.0, 0.0])),
    ] {
        let mut other = read(&with(small(), array.clone())).expect("other types and orders");
        other.source = plain.source.clone();
        assert_eq!(other, plain, "{} {}", array.0, array.1);
    }
    let text = "('metadata/algorithm')";
    let named = with(small(), ("metadata/algorithm", "<U3", "()", b"s\0\0\0a\0\0\0c\0\0\0".to_vec()));
    assert_eq!(read(&named).expect(text).algorithm.as_deref(), Some("sac"));
}

#[test]
fn what_is_wrong_with_an_archive_is_named() {
    let good = npz(&small(), CompressionMethod::Stored);
    let bytes = |bytes: &[u8]| d4rl::read_bytes_with::<NpzFile>("mine.npz", bytes, false);
    refused(bytes(b""), &["NumPy archive", "an empty file"]);
    refused(bytes(b"\x93NUMPY\x01\x00"), &["a single array", "numpy.savez"]);
    refused(bytes(embedded_hopper()), &["an HDF5 file", ".hdf5"]);
    refused(bytes(b"hello world"), &["bytes 68 65 6c", "check the path"]);
    for cut in [good.len() / 3, good.len() - 1] {
        refused(bytes(&good[..cut]), &["cut short or damaged"]);
    }
    // A bit of an element, which the zip's checksum sees.
    let mut flipped = good.clone();
    let at = good.windows(4).position(|w| w == 7.0f32.to_le_bytes()).expect("an element");
    flipped[at] ^= 1;
    refused(bytes(&flipped), &["`observations`", "cannot be decoded", "checksum"]);

    refused(
        read(&without(small(), "actions")),
        &["`actions`", "(N, A) float", "it has: observations, rewards"],
    );
    let misspelt = with(without(small(), "terminals"), ("terminal", "|b1", "(4,)", vec![0; 4]));
    refused(read(&misspelt), &["`terminals`", "`terminal`", "rename"]);
    let gymnasium = with(without(small(), "timeouts"), ("truncations", "|b1", "(4,)", vec![0; 4]));
    refused(read(&gymnasium), &["`timeouts`", "`truncations`, which may be it", "rename"]);
    let short = ("rewards", "<f4", "(3,)", floats(&[0.0; 3]));
    refused(read(&with(small(), short)), &["`rewards`", "(4,) or (4, 1)", "got (3,)"]);
    let deep = ("observations", "<f4", "(4, 2, 1)", floats(&[0.0; 8]));
    refused(read(&with(small(), deep)), &["`observations`", "(N, D)", "(4, 2, 1)"]);
    for (descr, size, got) in
        [("<i4", 4, "integer"), ("<f2", 2, "<f2"), ("|O", 0, "Python objects"), ("<c8", 8, "<c8")]
    {
        let array = ("actions", descr, "(4, 1)", vec![0; 4 * size]);
        refused(read(&with(small(), array)), &["`actions`", "f32 or f64", got]);
    }
    let vast = ("actions", "<f4", "(4611686018427387904, 4611686018427387904)", vec![0; 16]);
    refused(read(&with(small(), vast)), &["`actions`", "cannot be decoded", "4611686018427387904"]);
    let long = ("actions", "<f4", "(4, 1)", vec![0; 12]);
    refused(read(&with(small(), long)), &["`actions`", "cannot be decoded"]);
    let half = ("terminals", "<f4", "(4,)", floats(&[0.0, 0.5, 0.0, 0.0]));
    refused(read(&with(small(), half)), &["`terminals`", "0 or 1", "0.5 in row 1"]);
    let nan = ("actions", "<f4", "(4, 1)", floats(&[0.0, f32::NAN, 0.0, 0.0]));
    refused(read(&with(small(), nan)), &["`actions`", "NaN in row 1", "--skip-bad"]);
    let far = ("actions", "<f4", "(4, 1)", floats(&[0.0, 0.0, 2.0, 0.0]));
    refused(read(&with(small(), far)), &["`actions`", "[-1, 1]", "2 in row 2", "--rescale-actions"]);
}

#[test]
fn tables_are_read_and_what_is_wrong_with_them_is_named() {
    let good = "observations_0,observations_1,actions_0,rewards,terminals\n0,1,0.5,1,False\n2,3,-0.5,2,True\n4,5,1,3,false\n6,7,-1e0,4,false\n";
    let mut rec = table(good).expect("a table");
    let of_arrays = read(&small()).expect("an archive");
    rec.source = of_arrays.source.clone();
    assert_eq!(rec, of_arrays);
    refused(table(""), &["`observations`", "it has: "]);
    refused(
        table(&good.replace("4,5,1,3,false\n", "4,5,1\n")),
        &["line 4", "5 fields as in the header", "got 3"],
    );
    refused(table(&good.replace("2,3,", "2,x,")), &["line 3", "`observations`", "`x`"]);
    refused(table(&good.replace("2,3,", "2,,")), &["`observations`", "NaN in row 1"]);
    refused(table(&good.replace("actions_0", "actions_1")), &["line 1", "`actions_0`"]);
    refused(table(&good.replace("observations_1", "observations_0")), &["line 1", "`observations_0` twice"]);
    for (other, said) in [(";", "';'"), ("\t", "'\\t'")] {
        refused(table(&good.replace(',', other)), &["line 1", "commas", said]);
    }
    refused(table(&good.replace("observations_1", "observations")), &["line 1", "either `observations` or"]);
    refused(table(&good.replace("2,True", "2,0.5")), &["`terminals`", "words and numbers"]);
    refused(table(&good.replace("-0.5,2,", "-0.5,true,")), &["`rewards`", "words and numbers"]);
    refused(table(&good.replace("0.5,1,", "1e39,1,")), &["`actions`", "inf in row 0"]);
    refused(table("a,b\n\u{1b}[31m,2\n"), &["`observations`", "it has: a, b"]);
    // Columns that nobody reads may be called what they like.
    for name in ["sensor_3", "sensor", ""] {
        let mut lines = good.lines().map(str::to_string);
        let head = format!("{},{name},sensor_9\n", lines.next().expect("a header"));
        let text: String = lines.map(|line| line + ",1,2\n").collect();
        let mut more = table(&(head + &text)).expect("further columns");
        more.source = of_arrays.source.clone();
        assert_eq!(
            (more.observations, more.rewards),
            (of_arrays.observations.clone(), of_arrays.rewards.clone())
        );
    }
}

#[test]
fn conversions_come_back_to_the_bit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let all = ["plain.hdf5", "no-next-observations.hdf5", "no-timeouts.hdf5", "lzf.hdf5"];
    for name in all.map(fixture).iter().chain([&fixture("minari/toy/fixture-v0")]) {
        let first = convert::read(name, &convert::Options::default()).expect("a fixture").recording;
        for ending in ["npz", "csv", "hdf5"] {
            let path = folder.path().join(format!("{}.{ending}", name.file_stem().expect("named").display()));
            let write = |r: &Recording, path: &Path| {
                let format = Format::to_write(path).expect("a known ending");
                let mut file = std::fs::File::create(path).expect("create");
                write::recording(format, path, r, &mut file).expect("written");
            };
            write(&first, &path);
            let back = read_recording(&path, &Options::default()).expect("read back");
            let bits = |r: &Recording| {
                let all = [Some(&r.observations), Some(&r.actions), r.next_observations.as_ref()];
                all.map(|m| m.map(|m| m.iter().map(|x| x.to_bits()).collect::<Vec<u32>>()))
            };
            assert_eq!(bits(&back), bits(&first), "{}", path.display());
            let kept = |r: &Recording| {
                let algorithm = r.algorithm.clone().filter(|_| ending != "csv");
                (
                    r.rewards.clone(),
                    r.terminals.clone(),
                    r.timeouts.clone(),
                    r.action_log_probs.clone(),
                    algorithm,
                )
            };
            assert_eq!(kept(&back), kept(&first), "{}", path.display());
            // The same rows give the same bytes.
            let again = path.with_file_name(format!("again.{ending}"));
            write(&back, &again);
            if ending != "csv" || back.algorithm == first.algorithm {
                let bytes = |p: &Path| std::fs::read(p).expect("there");
                assert_eq!(bytes(&path), bytes(&again), "{}", path.display());
            }
        }
    }
}

#[test]
fn rows_that_train_are_the_same_after_a_conversion() {
    for name in ["plain.hdf5", "no-next-observations.hdf5", "minari/toy/fixture-v0", "minari/hopper/cut-v0"] {
        let options = Options::default();
        let direct = baq_datasets::read(&fixture(name), &options).expect("a fixture");
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("out.npz");
        let converted = convert::read(&fixture(name), &convert::Options::default()).expect("a fixture");
        let mut file = std::fs::File::create(&path).expect("create");
        write::recording(Format::Npz, &path, &converted.recording, &mut file).expect("written");
        let mut there = baq_datasets::read(&path, &options).expect("our own");
        there.source = direct.source.clone();
        // s' of a terminal row counts for nothing.
        for (i, m) in direct.masks().iter().enumerate().filter(|(_, m)| **m == 0.0) {
            assert_eq!(*m, there.masks()[i]);
            there.next_observations.row_mut(i).assign(&direct.next_observations.row(i));
        }
        assert_eq!(there, direct, "{name}");
    }
}

#[test]
fn dictionaries_are_flattened_in_the_stated_order() {
    let arrays = vec![
        ("observations/zeta", "<f4", "(4,)", floats(&[9.0, 9.1, 9.2, 9.3])),
        ("observations/desired_goal", "<f4", "(4, 1)", floats(&[3.0, 3.1, 3.2, 3.3])),
        ("observations/achieved_goal", "<f4", "(4, 1)", floats(&[2.0, 2.1, 2.2, 2.3])),
        ("observations/observation", "<f4", "(4, 1, 2)", floats(&[0.0, 1.0, 0.1, 1.1, 0.2, 1.2, 0.3, 1.3])),
        ("observations/inner/b", "<f4", "(4,)", floats(&[5.0, 5.1, 5.2, 5.3])),
        ("observations/inner/a", "<f4", "(4,)", floats(&[4.0, 4.1, 4.2, 4.3])),
    ];
    let rest: Vec<Array> = without(small(), "observations");
    let rec = read(&[arrays.clone(), rest.clone()].concat()).expect("a dictionary");
    assert_eq!(rec.observations.row(2).to_vec(), [0.2, 1.2, 2.2, 3.2, 4.2, 5.2, 9.2]);
    let text = "observations/goal_0,observations/goal_1,observations/a,actions_0,rewards,terminals\n1,2,0,0,0,0\n4,5,3,0,0,1\n";
    assert_eq!(table(text).expect("a table").observations.row(1).to_vec(), [3.0, 4.0, 5.0]);
    let next = with(
        [arrays.clone(), rest.clone()].concat(),
        ("next_observations", "<f4", "(4, 7)", floats(&[0.0; 28])),
    );
    refused(read(&next), &["`next_observations`", "next_observations/observation"]);
    let both = with(small(), ("observations/extra", "<f4", "(4, 1)", floats(&[0.0; 4])));
    refused(read(&both), &["`observations`", "one array, or parts of it", "`observations/extra`"]);
    let odd = with([arrays, rest].concat(), ("observations/zeta", "<f4", "(3,)", floats(&[0.0; 3])));
    refused(read(&odd), &["`observations/zeta`", "(4, D)", "got (3,)"]);
}

#[test]
fn ogbench_marks_the_last_rows_of_trajectories() {
    // Rows 1 and 3 are last states, whose actions lead nowhere.
    let ends = ("terminals", "<f4", "(4,)", floats(&[0.0, 1.0, 0.0, 1.0]));
    let published = with(without(small(), "rewards"), ends.clone());
    let published = with(published, ("qpos", "<f8", "(4, 3)", vec![0; 96]));
    refused(read(&published), &["`rewards`", "relabel_dataset", "--zero-rewards"]);
    let bytes = npz(&published, CompressionMethod::Deflated);
    let zero = convert::Options { zero_rewards: true, ..convert::Options::default() };
    let rec = converted("og.npz", &bytes, &zero).expect("cloning data").recording;
    assert_eq!(rec.terminals, [false; 4]);
    assert_eq!(rec.timeouts, Some(vec![false, true, false, true]));
    assert!(rec.notes.iter().any(|n| n.contains("left out") && n.contains("qpos")), "{:?}", rec.notes);
    // What OGBench calls a regular dataset: (s0, a0, s1) and (s2, a2, s3).
    let columns = rec.into_columns(&Options::default()).expect("rows");
    assert_eq!(columns.observations.column(0).to_vec(), [0.0, 4.0]);
    assert_eq!(columns.next_observations.column(0).to_vec(), [2.0, 6.0]);
    assert_eq!(columns.masks().to_vec(), [1.0, 1.0]);

    // With masks, and then with next observations, where every row has a successor.
    let masks = ("masks", "<f4", "(4,)", floats(&[0.0, 1.0, 1.0, 1.0]));
    let labelled = with(with(small(), ends.clone()), masks);
    let rec = read(&labelled).expect("labelled");
    assert_eq!((rec.terminals[0], rec.terminals[1]), (true, false));
    let next = ("next_observations", "<f4", "(4, 2)", floats(&[2.0, 3.0, 9.0, 9.0, 6.0, 7.0, 8.0, 8.0]));
    let rows =
        converted("og.npz", &npz(&with(labelled, next), CompressionMethod::Stored), &Default::default());
    let columns = rows.expect("every row").recording.into_columns(&Options::default()).expect("rows");
    assert_eq!(columns.masks().to_vec(), [0.0, 1.0, 1.0]);
    assert_eq!(columns.next_observations.column(0).to_vec()[1..], [9.0, 6.0]);

    // Nothing is guessed where both readings are possible.
    let unclear = with(with(small(), ends), ("qpos", "<f8", "(4, 3)", vec![0; 96]));
    refused(read(&unclear), &["`terminals`", "--layout d4rl", "--layout ogbench", "`timeouts`"]);
    let bytes = npz(&unclear, CompressionMethod::Stored);
    for (layout, terminals) in [(Layout::D4rl, 2), (Layout::Ogbench, 0)] {
        let options = convert::Options { layout, ..convert::Options::default() };
        let rec = converted("og.npz", &bytes, &options).expect("told which").recording;
        assert_eq!(rec.terminals.iter().filter(|t| **t).count(), terminals);
    }
}

/// Three episodes of four rows; the second has something odd.
fn episodes(odd: &str) -> Vec<Array<'static>> {
    let mut x: Vec<f32> = (0..12).map(|i| i as f32).collect();
    let mut a = vec![0.25; 12];
    let mut r = vec![1.0; 12];
    match odd {
        "observations" => x[5] = f32::NAN,
        "actions" => a[6] = f32::INFINITY,
        "rewards" => r[7] = f32::NEG_INFINITY,
        _ => {}
    }
    let mut next: Vec<f32> = x.iter().skip(1).copied().chain([12.0]).collect();
    if odd == "next_observations" {
        next[6] = f32::NAN;
    }
    let ends: Vec<u8> = (0..12).map(|i| u8::from(i % 4 == 3)).collect();
    vec![
        ("observations", "<f4", "(12, 1)", floats(&x)),
        ("next_observations", "<f4", "(12, 1)", floats(&next)),
        ("actions", "<f4", "(12, 1)", floats(&a)),
        ("rewards", "<f4", "(12,)", floats(&r)),
        ("terminals", "|b1", "(12,)", vec![0; 12]),
        ("timeouts", "|b1", "(12,)", ends),
    ]
}

#[test]
fn odd_episodes_are_refused_or_left_out_whole() {
    for odd in ["observations", "actions", "rewards", "next_observations"] {
        let bytes = npz(&episodes(odd), CompressionMethod::Stored);
        let text = converted("e.npz", &bytes, &Default::default()).expect_err("odd").to_string();
        assert!(text.contains(&format!("`{odd}`")) && text.contains("row "), "{text}");
        let skip = convert::Options { skip_bad: true, ..convert::Options::default() };
        let got = converted("e.npz", &bytes, &skip).expect("without the odd one");
        let reason = format!("{odd} that are not finite");
        let reasons: Vec<_> = got.skipped.reasons().map(|(r, e, n)| (r.to_string(), e, n)).collect();
        assert_eq!(reasons, [(reason, 1, 4)], "{odd}");
        let kept = [0.0, 1.0, 2.0, 3.0, 8.0, 9.0, 10.0, 11.0];
        assert_eq!(got.recording.observations.column(0).to_vec(), kept, "{odd}");
        assert_eq!(got.recording.timeouts.expect("kept").iter().filter(|t| **t).count(), 2);
    }
    // s' where the task ended is read in one mode alone, which says so.
    let mut next: Vec<f32> = (1..13).map(|x| x as f32).collect();
    next[3] = f32::NAN;
    let ended = with(episodes(""), ("terminals", "|b1", "(12,)", [&[0, 0, 0, 1][..], &[0; 8]].concat()));
    let ended = with(ended, ("next_observations", "<f4", "(12, 1)", floats(&next)));
    let ended = with(ended, ("timeouts", "|b1", "(12,)", [&[0; 7][..], &[1, 0, 0, 0, 1]].concat()));
    let skip = convert::Options { skip_bad: true, ..convert::Options::default() };
    let kept = converted("e.npz", &npz(&ended, CompressionMethod::Stored), &skip).expect("whole").recording;
    assert_eq!(kept.len(), 12);
    let everywhere = Options { mode: Mode::NextObservations, ..Options::default() };
    let text = kept.check_next_states(&everywhere).expect_err("read").to_string();
    assert!(text.contains("NaN in row 3, where the task ended; give data.mode=episodes"), "{text}");
    let all = with(episodes(""), ("rewards", "<f4", "(12,)", floats(&[f32::NAN; 12])));
    let skip = convert::Options { skip_bad: true, ..convert::Options::default() };
    let text = converted("e.npz", &npz(&all, CompressionMethod::Stored), &skip).expect_err("nothing left");
    assert!(text.to_string().contains("at least 1 row"), "{text}");
}

#[test]
fn a_time_limit_becomes_timeouts() {
    let arrays: Vec<Array> =
        episodes("").into_iter().filter(|a| !["timeouts", "next_observations"].contains(&a.0)).collect();
    let ended = with(arrays, ("terminals", "|b1", "(12,)", [&[0, 1][..], &[0; 10]].concat()));
    let options = convert::Options { max_episode_steps: Some(4), ..convert::Options::default() };
    let got = converted("e.npz", &npz(&ended, CompressionMethod::Stored), &options).expect("limited");
    let timeouts = got.recording.timeouts.expect("written");
    let at: Vec<usize> = (0..12).filter(|i| timeouts[*i]).collect();
    // Counted from the terminal row on; the last two rows are an episode that goes on.
    assert_eq!((at, got.timed_out), (vec![5, 9], 2));
}

#[test]
fn rescaled_actions_know_their_bounds() {
    let far = floats(&[2.0, -2.0, 0.5, 1.0]);
    let bytes = npz(&with(small(), ("actions", "<f4", "(4, 1)", far)), CompressionMethod::Stored);
    let with_actions = |actions| {
        let options = convert::Options { actions, ..convert::Options::default() };
        converted("a.npz", &bytes, &options)
    };
    let given = with_actions(Actions::Rescale(Some((vec![-4.0], vec![4.0])))).expect("wide enough").recording;
    assert_eq!(given.actions.column(0).to_vec(), [0.5, -0.5, 0.125, 0.25]);
    let of_data = with_actions(Actions::Rescale(None)).expect("the data's own").recording;
    assert_eq!(of_data.actions.column(0).to_vec(), [1.0, -1.0, 0.25, 0.5]);
    let clipped = with_actions(Actions::Clip).expect("clipped");
    assert_eq!((clipped.clipped, clipped.recording.action_bounds), (2, None));
    let fails = |actions, pieces: &[&str]| {
        let text = with_actions(actions).expect_err("refused").to_string();
        assert!(pieces.iter().all(|p| text.contains(p)), "{text}");
    };
    fails(Actions::Keep, &["`actions`", "2 in row 0"]);
    let endless = with(small(), ("actions", "<f4", "(4, 1)", floats(&[f32::INFINITY; 4])));
    let options = convert::Options { actions: Actions::Rescale(None), ..convert::Options::default() };
    let text = converted("a.npz", &npz(&endless, CompressionMethod::Stored), &options).expect_err("inf");
    assert!(text.to_string().contains("expected finite numbers, got inf in row 0"), "{text}");
    fails(Actions::Rescale(Some((vec![-1.0], vec![1.0]))), &["-1:1", "2 in component 0 of row 0", "wider"]);
    fails(Actions::Rescale(Some((vec![-4.0; 3], vec![4.0; 3]))), &["one number for all, or 1", "got 3"]);
    fails(Actions::Rescale(Some((vec![2.0], vec![2.0]))), &["2 and 2 in component 0"]);

    let folder = tempfile::tempdir().expect("temporary folder");
    for ending in ["npz", "hdf5", "csv"] {
        let path = folder.path().join(format!("out.{ending}"));
        let format = Format::to_write(&path).expect("known");
        let mut short = given.clone();
        short.terminals.pop();
        let text = write::recording(format, &path, &short, Cursor::new(Vec::new())).expect_err("it is short");
        assert!(text.to_string().contains("`terminals`"), "{text}");
        let written = write::recording(format, &path, &given, Cursor::new(Vec::new()));
        if ending == "csv" {
            let text = written.expect_err("no place").to_string();
            assert!(text.contains("out.csv") && text.contains("write .npz or .hdf5"), "{text}");
            continue;
        }
        write::recording(format, &path, &given, std::fs::File::create(&path).expect("create"))
            .expect("written");
        let back = read_recording(&path, &Options::default()).expect("our own");
        assert_eq!(back.action_bounds, given.action_bounds);
        let mut actions: Vec<f32> = back.actions.iter().copied().collect();
        back.action_bounds.as_ref().expect("there").restore(&mut actions);
        assert_eq!(actions, [2.0, -2.0, 0.5, 1.0]);
        let twice = convert::Options { actions: Actions::Rescale(None), ..convert::Options::default() };
        let text = convert::read(&path, &twice).expect_err("again").to_string();
        assert!(text.contains("not been rescaled yet") && text.contains("-4:4"), "{text}");
    }
    assert!(Format::to_write(Path::new("out.parquet")).expect_err("unknown").to_string().contains(".npz"));
}
