//! Own data: NumPy's archives, tables, dictionaries, OGBench's layout.

mod common;

use baq_datasets::backend::csv::CsvFile;
use baq_datasets::backend::npz::NpzFile;
use baq_datasets::{Layout, Options, Recording, convert, d4rl, embedded_hopper};
use common::archive::{Array, converted, floats, npz, small, with, without};
use zip::CompressionMethod;

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
    refused(bytes(b"<!doctype html>"), &["an HTML page"]);
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
    // The directory at an archive's end may claim any size.
    let shape = "(1000000000, 1)";
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n");
    let size = (10 + text.len() + 4_000_000_000) as u32;
    let mut vast = npz(&with(small(), ("actions", "<f4", shape, vec![0; 16])), CompressionMethod::Stored);
    let entry = vast.windows(4).rposition(|w| w == b"PK\x01\x02").expect("an entry");
    for at in [20, 24] {
        vast[entry + at..entry + at + 4].copy_from_slice(&size.to_le_bytes());
    }
    refused(bytes(&vast), &["`actions`", "cannot be decoded", "more than the"]);
    let mut other = good.clone();
    for (signature, at) in [(b"PK\x03\x04", 8), (b"PK\x01\x02", 10)] {
        let entry = other.windows(4).position(|w| w == signature).expect("an entry");
        other[entry + at] = 12;
    }
    refused(
        bytes(&other),
        &["stored or deflated", "`observations` packed otherwise", "numpy.savez_compressed"],
    );
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
fn names_of_algorithms_are_read_or_noted() {
    let key = "metadata/algorithm";
    let sac = b"s\0\0\0a\0\0\0c\0\0\0";
    let rec = read(&with(small(), (key, "<U3", "(1,)", sac.to_vec()))).expect("one string");
    assert_eq!((rec.algorithm.as_deref(), rec.notes.len()), (Some("sac"), 0));
    let table_of_names =
        "observations_0,actions_0,rewards,terminals,metadata/algorithm\n1,0,0,0,sac\n2,0,0,0,sac\n";
    for (rec, got) in [
        (read(&with(small(), (key, "<i8", "()", vec![5, 0, 0, 0, 0, 0, 0, 0]))), "integer x 1"),
        (read(&with(small(), (key, "<U3", "(2,)", sac.repeat(2)))), "string x 2"),
        (table(table_of_names), "string x 2"),
    ] {
        let rec = rec.expect("it is not used");
        assert_eq!(rec.algorithm, None);
        let note =
            "left out, as training does not use it: key `metadata/algorithm`: expected one string, got";
        assert_eq!(rec.notes, [format!("{note} elements of type {got}")]);
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
