//! What `baq data convert` does between reading and writing.

mod common;

use baq_datasets::convert::{self, Actions};
use baq_datasets::{
    Format, Layout, Mode, Options, Recording, TimeLimit, inspect, read_recording, returns, write,
};
use common::archive::{Array, converted, floats, npz, small, with};
use common::fixture;
use std::io::Cursor;
use std::path::Path;
use zip::CompressionMethod;

/// Three trajectories of five rows in OGBench's layout, each next observation 1 further; the second fails, and the first seems to end
/// in `seen`.
fn trajectories(seen: f32) -> Vec<Array<'static>> {
    let state = |i: usize| (10 * (i / 5) + i % 5) as f32;
    let observations: Vec<f32> = (0..15).map(state).collect();
    let mut next: Vec<f32> = observations.iter().map(|s| s + 1.0).collect();
    next[4] = seen;
    let flags =
        |f: fn(usize) -> bool| floats(&(0..15).map(|i| f32::from(u8::from(f(i)))).collect::<Vec<_>>());
    vec![
        ("observations", "<f4", "(15, 1)", floats(&observations)),
        ("next_observations", "<f4", "(15, 1)", floats(&next)),
        ("actions", "<f4", "(15, 1)", floats(&[0.25; 15])),
        ("rewards", "<f4", "(15,)", floats(&observations)),
        ("terminals", "<f4", "(15,)", flags(|i| i % 5 == 4)),
        ("masks", "<f4", "(15,)", flags(|i| i != 9)),
    ]
}

/// A limit that cuts only files without flags.
const LIMIT: TimeLimit = TimeLimit::OfTask(3);

/// Complete episodes, and statistics of their returns.
fn complete(r: &Recording) -> (usize, Option<returns::Stats>) {
    let options = Options { time_limit: LIMIT, ..Options::default() };
    let summary = inspect::summarize(r, &options, None).expect("readable");
    (summary.n_complete, summary.returns)
}

#[test]
fn conversions_come_back_to_the_bit() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let ogbench = folder.path().join("trajectories.npz");
    std::fs::write(&ogbench, npz(&trajectories(5.0), CompressionMethod::Stored)).expect("write");
    let all = ["plain.hdf5", "no-next-observations.hdf5", "no-timeouts.hdf5", "lzf.hdf5"];
    for name in all.map(fixture).iter().chain([&fixture("minari/toy/fixture-v0"), &ogbench]) {
        let first = convert::read(name, &convert::Options::default()).expect("a fixture").recording;
        for ending in ["npz", "csv", "hdf5"] {
            let path =
                folder.path().join(format!("{}-out.{ending}", name.file_stem().expect("named").display()));
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
                    r.group_ends.clone(),
                    r.action_log_probs.clone(),
                    algorithm,
                    complete(r),
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
    let folder = tempfile::tempdir().expect("temporary folder");
    let ogbench = folder.path().join("trajectories.npz");
    std::fs::write(&ogbench, npz(&trajectories(5.0), CompressionMethod::Stored)).expect("write");
    let sources = [
        (fixture("plain.hdf5"), 0),
        (fixture("no-next-observations.hdf5"), 0),
        (fixture("minari/toy/fixture-v0"), 1),
        (fixture("minari/hopper/cut-v0"), 2),
        (ogbench, 2),
    ];
    for (source, unfinished) in sources {
        let name = source.display();
        let options = Options { time_limit: LIMIT, ..Options::default() };
        let before = read_recording(&source, &options).expect("a source");
        let direct = before.clone().into_columns(&options).expect("rows");
        let path = folder.path().join("out.npz");
        let converted = convert::read(&source, &convert::Options::default()).expect("a source");
        let mut file = std::fs::File::create(&path).expect("create");
        write::recording(Format::Npz, &path, &converted.recording, &mut file).expect("written");
        let after = read_recording(&path, &options).expect("our own");
        let mut there = after.clone().into_columns(&options).expect("rows");
        there.source = direct.source.clone();
        // s' of a terminal row counts for nothing.
        for (i, m) in direct.masks().iter().enumerate().filter(|(_, m)| **m == 0.0) {
            assert_eq!(*m, there.masks()[i]);
            there.next_observations.row_mut(i).assign(&direct.next_observations.row(i));
        }
        assert_eq!(there, direct, "{name}");
        // Episodes are what they were, but those without a flag are no longer complete.
        let episodes = |r: &Recording| {
            let all = r.episodes(LIMIT);
            let rows: Vec<_> = all.iter().map(|e| e.rows.clone()).collect();
            (rows, returns::of_episodes(r.rewards.view(), &all))
        };
        assert_eq!(episodes(&after), episodes(&before), "{name}");
        assert_eq!(
            (converted.unfinished, converted.marked, &after.group_ends),
            (unfinished, 0, &None),
            "{name}"
        );
        let [(was, returns), (is, same)] = [&before, &after].map(complete);
        assert_eq!(is + unfinished, was, "{name}");
        assert!(unfinished > 0 || same == returns, "{name}");
    }
}

/// Where next observations would hide an end, it is flagged; all are counted.
#[test]
fn ends_that_next_observations_hide_are_marked() {
    for (seen, counts, at) in [(5.0, (2, 0), vec![]), (10.0, (1, 1), vec![4])] {
        let bytes = npz(&trajectories(seen), CompressionMethod::Stored);
        let got = converted("og.npz", &bytes, &convert::Options::default()).expect("whole");
        assert_eq!((got.unfinished, got.marked), counts);
        let timeouts = got.recording.timeouts.expect("no limit is to be assumed");
        assert_eq!((0..15).filter(|i| timeouts[*i]).collect::<Vec<_>>(), at);
    }
}

#[test]
fn masks_beside_other_flags_are_left_out_with_a_note() {
    let masked = with(small(), ("masks", "<f4", "(4,)", floats(&[1.0, 1.0, 0.0, 1.0])));
    let flagged = with(masked.clone(), ("timeouts", "|b1", "(4,)", vec![0, 0, 0, 1]));
    for (arrays, layout, ogbench) in [
        (&flagged, Layout::Auto, false),
        (&masked, Layout::D4rl, false),
        (&masked, Layout::Auto, true),
        (&flagged, Layout::Ogbench, true),
    ] {
        let options = convert::Options { layout, ..convert::Options::default() };
        let bytes = npz(arrays, CompressionMethod::Stored);
        let rec = converted("m.npz", &bytes, &options).expect("either layout").recording;
        let note = rec.notes.iter().any(|n| n == "left out, as training does not use it: masks");
        assert_eq!((note, rec.terminals[1], rec.terminals[2]), (!ogbench, !ogbench, ogbench), "{layout:?}");
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
    // The flag is also for what ends with its group, and for a file in which the limit ends nothing.
    let cut = |path: &Path, limit| {
        let options = convert::Options { max_episode_steps: Some(limit), ..convert::Options::default() };
        let got = convert::read(path, &options).expect("limited");
        let timeouts = got.recording.timeouts.expect("written");
        let at: Vec<usize> = (0..timeouts.len()).filter(|i| timeouts[*i]).collect();
        (at, got.timed_out, got.unfinished)
    };
    // Row 23 has its flag, and row 35 is a failure.
    assert_eq!(cut(&fixture("minari/hopper/cut-v0"), 12), (vec![11, 23, 47], 2, 0));
    assert_eq!(cut(&fixture("no-timeouts.hdf5"), 100), (vec![], 0, 0));
}

#[test]
fn episodes_that_are_left_out_are_not_counted_twice() {
    // With a limit of 2 the odd episode is rows 4 and 5, the second of which would be at it.
    let options =
        convert::Options { max_episode_steps: Some(2), skip_bad: true, ..convert::Options::default() };
    let bytes = npz(&episodes("observations"), CompressionMethod::Stored);
    let got = converted("e.npz", &bytes, &options).expect("without the odd one");
    assert_eq!((got.timed_out, got.recording.len()), (2, 10));
    assert_eq!(got.recording.timeouts.expect("written").iter().filter(|t| **t).count(), 5);
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
