//! Every good fixture, through every backend, against the formulas that made it.

mod common;

use baq_datasets::backend::Backend;
use baq_datasets::{Mode, Options, Recording, d4rl, minari};
use common::{check_formulas, fixture};

const D4RL: [&str; 16] = [
    "plain",
    "room",
    "shrunk",
    "gzip",
    "lzf",
    "shuffle-fletcher32",
    "latest",
    "extensible",
    "f64-columns-float-flags",
    "newest",
    "newest-unfiltered",
    "soft-links",
    "big-endian-int-flags",
    "no-next-observations",
    "no-timeouts",
    "minari/toy/fixture-v0",
];

fn read<B: Backend>(name: &str) -> Recording {
    let result = if name.starts_with("minari") {
        minari::read_with::<B>(&fixture(name), false)
    } else {
        d4rl::read_with::<B>(&fixture(&format!("{name}.hdf5")), false)
    };
    result.unwrap_or_else(|e| panic!("{} with {}: {e}", name, B::NAME))
}

fn rows_follow_the_formulas<B: Backend>() {
    for name in D4RL {
        let rec = read::<B>(name);
        assert_eq!(rec.len(), 60, "{name}");
        check_formulas(name, &rec);
        let bare = ["no-next-observations", "no-timeouts"].contains(&name);
        assert_eq!(rec.next_observations.is_none(), bare, "{name}");
        assert_eq!(rec.timeouts.is_none(), name == "no-timeouts", "{name}");
    }
}

#[test]
fn every_layout_reads_to_the_last_bit() {
    every_backend!(rows_follow_the_formulas);
}

fn extras_are_read<B: Backend>() {
    let gzip = read::<B>("gzip");
    let p = gzip.action_log_probs.expect("in this fixture");
    assert_eq!((p.len(), p[0], p[59]), (60, 0.0, 59.0 / 64.0));
    assert_eq!(gzip.algorithm.as_deref(), Some("SAC"));
    assert_eq!(read::<B>("no-timeouts").algorithm.as_deref(), Some("Größe"));
    let toy = read::<B>("minari/toy/fixture-v0");
    assert_eq!((toy.algorithm.as_deref(), toy.env.as_deref()), (Some("formula"), Some("Toy-v0")));
    assert!(toy.source.path.ends_with("data/main_data.hdf5"));
    assert_eq!(toy.source.sha256.len(), 64);
}

#[test]
fn infos_metadata_and_minari_names() {
    every_backend!(extras_are_read);
}

fn bytes_equal_file<B: Backend>() {
    let path = fixture("lzf.hdf5");
    let bytes = std::fs::read(&path).expect("fixture");
    let mut from_bytes = d4rl::read_bytes_with::<B>("memory", &bytes, false).expect("good fixture");
    let from_file = d4rl::read_with::<B>(&path, false).expect("good fixture");
    assert_eq!(from_bytes.source.sha256, from_file.source.sha256);
    assert_eq!(from_bytes.source.path, "memory");
    from_bytes.source = from_file.source.clone();
    assert_eq!(from_bytes, from_file);
}

#[test]
fn memory_and_disk_give_the_same() {
    every_backend!(bytes_equal_file);
}

fn user_blocks<B: Backend>() {
    let plain = std::fs::read(fixture("plain.hdf5")).expect("fixture");
    let folder = tempfile::tempdir().expect("temporary folder");
    for block in [512, 1 << 16, 1 << 20] {
        let mut bytes = [&vec![0; block][..], &plain].concat();
        // The superblock says where it lies, and where the file ends.
        let end = bytes.len() as u64;
        bytes[block + 24..block + 32].copy_from_slice(&(block as u64).to_le_bytes());
        bytes[block + 40..block + 48].copy_from_slice(&end.to_le_bytes());
        let path = folder.path().join(format!("{block}.hdf5"));
        std::fs::write(&path, &bytes).expect("write");
        let read = [d4rl::read_with::<B>(&path, false), d4rl::read_bytes_with::<B>("memory", &bytes, false)];
        for rec in read {
            check_formulas(&block.to_string(), &rec.unwrap_or_else(|e| panic!("{block}: {e}")));
        }
    }
}

#[test]
fn the_superblock_is_found_behind_any_user_block() {
    every_backend!(user_blocks);
}

fn structure<B: Backend>() {
    let file = B::open(&fixture("gzip.hdf5")).expect("good fixture");
    let names = file.children("").expect("root");
    assert_eq!(
        names,
        [
            "actions",
            "infos",
            "metadata",
            "next_observations",
            "observations",
            "rewards",
            "terminals",
            "timeouts"
        ]
    );
    assert_eq!(file.children("infos").expect("group"), ["action_log_probs", "qpos"]);
    assert_eq!(file.info("nothing").expect("absent is no error"), None);
    assert!(file.info("infos").expect_err("a group is no dataset").to_string().contains("a group"));
    assert_eq!(file.info("rewards/x").expect("a dataset is no group"), None);
    assert_eq!(file.read_f64("infos/qpos").expect("f64").len(), 120);
    assert_eq!(file.read_f64("rewards").expect("widened")[3], 0.25);
}

#[test]
fn both_backends_list_and_describe_alike() {
    every_backend!(structure);
}

#[test]
fn minari_is_found_by_folder_data_folder_and_file() {
    let options = Options::default();
    let root = fixture("minari/toy/fixture-v0");
    let whole = baq_datasets::read_recording(&root, &options).expect("folder");
    for path in [root.join("data"), root.join("data/main_data.hdf5")] {
        assert_eq!(baq_datasets::read_recording(&path, &options).expect("same data"), whole);
    }
}

#[test]
fn all_fixtures_give_the_same_transitions() {
    let options = Options { mode: Mode::NextObservations, ..Options::default() };
    let columns = |name: &str| {
        let path = if name.starts_with("minari") { fixture(name) } else { fixture(&format!("{name}.hdf5")) };
        let mut c = baq_datasets::read(&path, &options).expect("good fixture");
        c.source = baq_datasets::Source::in_memory("");
        c.action_log_probs = None;
        c
    };
    let plain = columns("plain");
    for name in D4RL.iter().filter(|n| !n.starts_with("no-")) {
        assert_eq!(columns(name), plain, "{name}");
    }
}
