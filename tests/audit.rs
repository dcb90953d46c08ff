//! The audit as a sceptic meets it: runs on the toy task, verified, tampered with, compared, taken apart.
//!
//! Above 400 lines because all of it is said with the same few commands.

mod common;

use std::ops::Range;
use std::process::Command;

use baq::adapt::GENERATORS;
use baq_datasets::{Columns, synthetic};
use common::place::{Place, copy, write_d4rl};
use common::program::{baq, ran};
use safetensors::SafeTensors;
use serde_json::Value;

struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    #[track_caller]
    fn says(&self, code: i32, words: &[&str]) -> &Ran {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        for word in words {
            assert!(
                self.out.contains(word) || self.err.contains(word),
                "no `{word}` in\n{}{}",
                self.out,
                self.err
            );
        }
        self
    }
}

const SMALL: &str = "--data toy.hdf5 --env toy --quiet --ledger --set offline.batch=32 --set offline.eval_every=100 \
    --set offline.eval_episodes=1 --set offline.log_every=50 --set iql.hidden=[8,8] --set audit.keep_every=40";
const SMALL_ONLINE: &str = "--quiet --ledger --set online.batch=32 --set online.eval_every=30 --set online.eval_episodes=1 \
    --set baq.model_updates=20 --set baq.model_hidden=[8] --set online.log_every=10 --set audit.keep_every=20";

impl Place {
    fn data(&self, name: &str, columns: &Columns) {
        let path = self.path(name);
        let _ = std::fs::remove_file(&path);
        write_d4rl(&path, columns);
    }

    fn baq(&self, line: &str) -> Ran {
        let (code, out, err) = ran(&mut baq(&self.0, line));
        Ran { code, out, err }
    }

    #[track_caller]
    fn succeed(&self, line: &str) -> Ran {
        let ran = self.baq(line);
        ran.says(0, &[]);
        ran
    }

    fn flip(&self, file: &str, byte: usize, bit: u8) {
        let path = self.path(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[byte] ^= 1 << bit;
        // A checkpoint that is kept is a second name of the same file.
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, bytes).unwrap();
    }

    fn copy(&self, from: &str, to: &str) {
        copy(&self.path(from), &self.path(to));
    }
}

#[test]
fn runs_are_verified_in_another_process_with_other_threads() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 100 --threads 1 {SMALL}"));
    // 100 rounds of three updates, the declaration of the phase, and the end.
    place
        .baq("audit verify run --threads 3")
        .says(0, &["302 records, every link holds", "replayed updates 1 to 100: 301 records agree"])
        .says(0, &["run/checkpoint.safetensors: equal to the replay, bit for bit"])
        .says(0, &["update-0000000040.safetensors: equal to the replay", "verified: 301 records and "]);
    let part = place.baq("audit verify run --from 50 --to 90");
    part.says(
        0,
        &["verified in part: 150 records", "update-0000000040.safetensors, which is taken on trust"],
    );
    part.says(0, &["replayed updates 41 to 90: 150 records agree", "update-0000000080.safetensors: equal"]);
    part.says(
        0,
        &["metrics.csv: equal to the replay from where it began; what stands before is taken on trust"],
    );
    assert!(!part.out.contains("update-0000000040.safetensors: equal"), "{}", part.out);

    // Across the switch, with a model that moves and priorities that follow; the environment is replayed too.
    let online = "--adapt baq --env-steps 50 --set baq.relax=follow(0.01)";
    place.succeed(&format!("finetune --from run --out tuned --threads 3 {online} {SMALL_ONLINE}"));
    place
        .baq("audit verify tuned --threads 1")
        .says(0, &["replayed updates 101 to 150: 172 records agree", "tuned/checkpoint.safetensors: equal"]);
    place
        .baq("audit verify tuned --to 100")
        .says(1, &["updates 1 to 100: the range is empty, the run has 101 to 150"]);
    place.baq("audit verify tuned --from 145").says(0, &["replayed updates 141 to 150: 30 records agree"]);

    // A file that is gone is the run's fault, and keeps nothing else from being said.
    place.copy("tuned", "lacking");
    std::fs::remove_file(place.path("lacking/metrics.csv")).unwrap();
    place.flip("lacking/evaluations.csv", 100, 1);
    place
        .baq("audit verify lacking")
        .says(1, &["lacking/metrics.csv: missing", "lacking/evaluations.csv: line", "NOT verified"]);
    place.baq("audit verify lacking --from 145").says(1, &["it cannot be computed again", "NOT verified"]);
    // Files of the replay cannot grow, as on a disk that is full: the run is not to blame.
    let full = format!("ulimit -f 20; exec {} audit verify run", env!("CARGO_BIN_EXE_baq"));
    let full = Command::new("sh").current_dir(place.0.path()).args(["-c", &full]).output().unwrap();
    let said = String::from_utf8_lossy(&full.stderr);
    assert!(full.status.code() == Some(2) && said.contains("; the replay needs as much room"), "{said}");

    let json: Value = serde_json::from_str(&place.succeed("audit verify run --json").out).unwrap();
    assert_eq!((&json["passed"], &json["compared"]), (&Value::from(true), &Value::from(301)));
    place.succeed("audit report tuned").says(0, &["every link of the chain holds"]);
    let page = std::fs::read_to_string(place.path("tuned/audit.html")).unwrap();
    for words in
        ["Norms of gradients", "Weights and priorities", "Update policy, online", "Update policy, model"]
    {
        assert!(page.contains(words), "{words}");
    }
    // A kept checkpoint begins nowhere else than the run did.
    place.baq("audit diff run run").says(0, &["equal: 302 records"]);
}

#[test]
fn one_bit_anywhere_is_found_and_located() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 100 {SMALL}"));

    // A checkpoint: named by its checksum, located by the replay.
    place.copy("run", "bent");
    let bytes = std::fs::read(place.path("bent/checkpoint.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (_, meta) = SafeTensors::read_metadata(&bytes).unwrap();
    let at = 8 + header + meta.info("q.1.layer1.weight").unwrap().data_offsets.0 + 4 * 13 + 2;
    place.flip("bent/checkpoint.safetensors", at, 3);
    place
        .baq("audit verify bent")
        .says(1, &["bent/checkpoint.safetensors: the content does not match its checksum"])
        .says(
            1,
            &[
                "q.1.layer1.weight, element 13: the replay gives",
                "301 records agree",
                "checkpoint.safetensors: it is not what it was when the run ended",
                "NOT verified: 3 findings",
            ],
        );

    // One that was kept, exchanged for another whole one: only the replay knows.
    place.copy("run", "bent1");
    let kept =
        |run: &str, update: u64| place.path(&format!("{run}/checkpoints/update-{update:010}.safetensors"));
    std::fs::copy(kept("run", 40), kept("bent1", 80)).unwrap();
    place.baq("audit verify bent1").says(1, &["update-0000000080.safetensors: it is that of update 40"]);

    // A record of the ledger: update 34 is in the records 100 to 102.
    let ledger = std::fs::read(place.path("run/ledger.bin")).unwrap();
    let records = records(&ledger);
    assert_eq!(records.len(), 302);
    place.copy("run", "bent2");
    place.flip("bent2/ledger.bin", records[100].start + 4 + 12, 0);
    place
        .baq("audit verify bent2")
        .says(1, &["the chain breaks at record 100", "of update 34", "it was changed"])
        .says(
            1,
            &["record 100 (offline update 34, value): loss: the ledger says", "100 records before it agree"],
        );

    // The order of two records.
    place.copy("run", "bent3");
    let (a, b) = (records[151].clone(), records[152].clone());
    let swapped = [&ledger[..a.start], &ledger[b.clone()], &ledger[a.clone()], &ledger[b.end..]].concat();
    std::fs::write(place.path("bent3/ledger.bin"), swapped).unwrap();
    place.baq("audit verify bent3").says(
        1,
        &[
            "the chain breaks at record 151",
            "record 151 (offline update 51, policy): the replay is at offline update 51, value instead",
        ],
    );

    // A record that is gone, and a configuration that is not what it was.
    place.copy("run", "bent4");
    let gone = [&ledger[..records[10].start], &ledger[records[13].start..]].concat();
    std::fs::write(place.path("bent4/ledger.bin"), gone).unwrap();
    place
        .baq("audit verify bent4")
        .says(1, &["record 10", "update 5 follows update 3: records were dropped"]);
    let config = std::fs::read_to_string(place.path("run/config.toml")).unwrap();
    place.copy("run", "bent5");
    let number = 1 + config.lines().position(|line| line == "expectile = 0.7").unwrap();
    std::fs::write(place.path("bent5/config.toml"), config.replace("expectile = 0.7", "expectile = 0.8"))
        .unwrap();
    place
        .baq("audit verify bent5")
        .says(1, &["config.toml: it is not what the run began with"])
        .says(1, &[&format!("line {number} was `expectile = 0.7` and is `expectile = 0.8`")]);

    // One record, the last ones, and the length of one.
    place.copy("run", "bent6");
    let without = |gone: Range<usize>| [&ledger[..gone.start], &ledger[gone.end..]].concat();
    std::fs::write(place.path("bent6/ledger.bin"), without(records[151].clone())).unwrap();
    place.baq("audit verify bent6").says(
        1,
        &[
            "the chain breaks at record 151",
            "record 151 (offline update 51, policy): the replay is at offline update 51, value instead",
        ],
    );
    std::fs::write(place.path("bent6/ledger.bin"), without(records[298].start..ledger.len())).unwrap();
    place.baq("audit verify bent6").says(1, &["expected at least the 301 records that the checkpoint knows"]);
    std::fs::write(place.path("bent6/ledger.bin"), &ledger).unwrap();
    place.flip("bent6/ledger.bin", records[200].start + 2, 0);
    place.baq("audit verify bent6").says(1, &["after record 199 are no record: the length of the next one"]);

    // The checksums of the transitions.
    place.copy("run", "bent7");
    place.flip("bent7/ledger_rows.bin", 800, 2);
    place.baq("audit verify bent7").says(1, &["ledger_rows.bin: byte 800 is not that of the replay"]);
}

/// Ranges of the records of a ledger.
fn records(ledger: &[u8]) -> Vec<Range<usize>> {
    let mut from = ledger.iter().enumerate().filter(|(_, b)| **b == b'\n').nth(1).unwrap().0 + 1;
    let mut records = Vec::new();
    while from < ledger.len() {
        let length = u32::from_le_bytes(ledger[from..from + 4].try_into().unwrap()) as usize;
        records.push(from..from + 4 + length + 16);
        from += 4 + length + 16;
    }
    records
}

/// A run that was killed between two updates of one round, or in the middle of a record, is verified as far as it went.
#[test]
fn what_a_killed_run_leaves_is_verified() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 50 {SMALL} --set offline.checkpoint_every=40"));
    let ledger = std::fs::read(place.path("run/ledger.bin")).unwrap();
    let records = records(&ledger);
    assert_eq!(records.len(), 152);
    let kept = std::fs::read(place.path("run/checkpoints/update-0000000040.safetensors")).unwrap();
    for (bytes, torn) in [(records[133].end, 0), (records[134].start + 70, 70)] {
        place.copy("run", "killed");
        std::fs::remove_file(place.path("killed/checkpoint.safetensors")).unwrap();
        std::fs::write(place.path("killed/checkpoint.safetensors"), &kept).unwrap();
        std::fs::write(place.path("killed/ledger.bin"), &ledger[..bytes]).unwrap();
        let ran = place.baq("audit verify killed");
        ran.says(1, &["134 records, every link holds", "replayed updates 1 to 40: 121 records agree"])
            .says(1, &["killed/checkpoint.safetensors: equal to the replay", "13 records are later than"])
            .says(1, &["NOT verified: the run was interrupted after 40 of 50 updates", "--resume killed"]);
        let words = format!("{torn} bytes of a record that was being written when the run was killed");
        assert_eq!(ran.out.contains(&words), torn > 0, "{}", ran.out);
        // It goes on from its checkpoint, and ends as if nothing had happened.
        place.succeed("train --resume killed --quiet");
        assert!(std::fs::read(place.path("killed/ledger.bin")).unwrap() == ledger);
        place.baq("audit verify killed --threads 2").says(0, &["verified: 151 records"]);
    }
}

/// What an adaptation trains beside the rounds is written down, verified and taken apart as everything else.
#[test]
fn a_model_beside_the_rounds_has_records() {
    let place = Place::of(900);
    let small = SMALL
        .replace("iql.hidden=[8,8]", "cql.policy_hidden=[8] --set cql.critic_hidden=[8] --set cql.samples=2");
    place.succeed(&format!("train --algo cql --out run --updates 30 {small}"));
    let options = SMALL_ONLINE.replace(
        "--set baq.model_updates=20 --set baq.model_hidden=[8]",
        "--set off2on.density_hidden=[8] --set off2on.first_epoch_multiplier=1",
    );
    let collect = format!("finetune --from run --adapt off2on --env-steps 40 {options}");
    // All 40 updates after the last step: the rounds of one step are many, and are replayed as any others.
    place.succeed(&format!("{collect} --out collected --threads 1"));
    place.baq("audit verify collected").says(0, &["replayed updates 31 to 70: 162 records agree"]);
    let tune = format!("{collect} --set off2on.opening=spread");
    place.succeed(&format!("{tune} --out tuned --threads 1 --probe reference:every=20"));
    // Two declarations, and temperature, policy, q and density of each update.
    place
        .baq("audit verify tuned --threads 2")
        .says(0, &["replayed updates 31 to 70: 162 records agree", "tuned/checkpoint.safetensors: equal"]);
    place.baq("audit verify tuned --from 60").says(0, &["replayed updates 51 to 70: 80 records agree"]);

    // The loss of the density in update 36, record 2 + 5 · 4 + 3.
    let ledger = std::fs::read(place.path("tuned/ledger.bin")).unwrap();
    let records = records(&ledger);
    place.copy("tuned", "bent");
    place.flip("bent/ledger.bin", records[25].start + 4 + 12, 1);
    place.baq("audit verify bent").says(
        1,
        &[
            "the chain breaks at record 25",
            "record 25 (priorities update 36, density): loss: the ledger says",
        ],
    );

    let text = std::fs::read_to_string(place.path("tuned/roundoff.csv")).unwrap();
    for update in [40, 60] {
        for row in ["online", "priorities"].map(|phase| format!("{phase},{update},")) {
            assert!(text.contains(&row), "{row}");
        }
    }
    assert!(text.contains(",density,density.layer0.weight,"), "{text}");
    place.succeed("audit report tuned");
    let page = std::fs::read_to_string(place.path("tuned/audit.html")).unwrap();
    assert!(page.contains("Update density, priorities"));

    place
        .succeed("audit step tuned --update 36 --export step.safetensors")
        .says(0, &["density/batch/s", "loss/density", "gradient/density/density.layer0.weight"]);
    let bytes = std::fs::read(place.path("step.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.tensor("rows").unwrap().shape(), [32 + 96]);
    let (before, after) =
        ["before", "after"].map(|when| tensor(&file, &format!("{when}/density.layer0.weight"))).into();
    assert_ne!(before, after);
    assert_eq!(after, tensor(&file, "applied/density/density.layer0.weight"));

    // Only the density's optimiser is another: the runs part at its step.
    place.succeed(&format!("{tune} --out other --set off2on.density=1e-3"));
    place.baq("audit diff tuned other").says(
        1,
        &[
            "part at record 5: priorities update 31, density: norm of the parameter",
            "first in applied/density/",
        ],
    );
}

/// The rounds of a model that is fitted before the online phase count from 0; they may have numbers of its rounds.
#[test]
fn a_round_of_the_model_is_not_taken_for_one_of_the_run() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 10 {SMALL}"));
    place.succeed(&format!("finetune --from run --out tuned --adapt baq --env-steps 15 {SMALL_ONLINE}"));
    // 20 updates of the model, the online phase from update 11 on, and the first checkpoint after update 20.
    let step = |update: u64| {
        let file = format!("{update}.safetensors");
        place.succeed(&format!("audit step tuned --update {update} --export {file}"));
        std::fs::read(place.path(&file)).unwrap()
    };
    let (one, next) = (step(12), step(13));
    let (one, next) = (SafeTensors::deserialize(&one).unwrap(), SafeTensors::deserialize(&next).unwrap());
    assert_eq!(one.tensor("rows").unwrap().shape(), [32]);
    let kinds = |head: &str| one.names().into_iter().filter(|n| n.starts_with(head)).count();
    assert_eq!(kinds("loss/"), 3, "value, q and policy: {:?}", one.names());
    assert!(one.names().iter().all(|name| !name.contains("/batch/")), "{:?}", one.names());
    // One round ends where the next begins.
    for name in ["v.layer0.weight", "q.1.layer1.weight", "adam.first.v.layer0.weight"] {
        assert_eq!(
            tensor(&one, &format!("after/{name}")),
            tensor(&next, &format!("before/{name}")),
            "{name}"
        );
    }
    // Those of the model alone are no updates of the run.
    place.baq("audit step tuned --update 5").says(2, &["tuned: --update: expected 11 to 25, got 5; the run"]);
}

/// The promise across instruction sets: not equal bits, but close ones from the same state.
#[test]
fn instruction_sets_part_at_an_operation_and_stay_close() {
    let all: Vec<&str> = baq_kernels::available().map(|k| k.isa.name()).collect();
    let place = Place::of(900);
    for isa in &all {
        // Shorter sums are the same on some of them.
        let small = SMALL.replace("[8,8]", "[20,20]");
        place.succeed(&format!("train --out {isa} --updates 40 --isa {isa} {small}"));
    }
    if all.len() < 2 {
        common::say("SKIPPED: this processor has one instruction set, nothing to compare");
    }
    for pair in all.windows(2) {
        let [a, b] = pair else { unreachable!("windows of two") };
        let ran = place.baq(&format!("audit diff {a} {b}"));
        ran.says(1, &[&format!("instruction sets differ: {a} and {b}"), "the ledgers part at record "])
            .says(1, &["different in update ", "first in op/", "after update 40 the norms of the parameters"])
            .says(1, &["in gradient/", "within the tolerance 2e-4"]);
        // Bits hold for one.
        let other = place.baq(&format!("audit verify {a} --isa {b}"));
        other.says(2, &["bits hold for one instruction set", &format!("say --isa {a}")]);
    }
}

/// Every base with every adaptation that is not refused, in one table.
#[test]
fn gradients_of_every_method_in_one_table() {
    let place = Place(tempfile::tempdir().unwrap());
    let sets: Vec<String> =
        common::SMALL.iter().map(|set| format!("--set {}", set.replace(' ', ""))).collect();
    let sets = sets.join(" ");
    let ran = place.succeed(&format!("audit gradients --all {sets}"));
    // Generators stand beside the pairs of methods.
    let count = common::methods().count() + GENERATORS.len();
    assert_eq!(ran.out.lines().filter(|line| line.contains("  agree")).count(), count, "{}", ran.out);
    ran.says(
        0,
        &[&format!("{count} methods: all gradients agree"), "refused: bc with baq", "as configured (S 11"],
    );
    let json: Value =
        serde_json::from_str(&place.succeed(&format!("audit gradients --all --json {sets}")).out).unwrap();
    assert_eq!(
        (&json["passed"], json["methods"].as_array().map(Vec::len)),
        (&Value::from(true), Some(count))
    );
    place.baq("audit gradients --all --algo iql").says(2, &["--algo"]);
}

#[test]
fn a_changed_row_is_named() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 50 {SMALL}"));
    let read = || baq_datasets::read(&place.path("toy.hdf5"), &baq_datasets::Options::default()).unwrap();
    let before = read();
    let mut columns = synthetic::point(5, 900, 3, 1);
    columns.rewards[123] = f32::from_bits(columns.rewards[123].to_bits() ^ 1);
    place.data("toy.hdf5", &columns);
    let after = read();
    let row = (0..before.len()).find(|&i| before.rewards[i] != after.rewards[i]).unwrap();
    place
        .baq("audit verify run")
        .says(2, &["the data have changed since the run", "nothing was replayed", "every link holds"])
        .says(2, &[&format!("toy.hdf5: transition {row} has changed"), "NOT verified"]);
    // The right data under another name are the right data.
    place.data("old.hdf5", &synthetic::point(5, 900, 3, 1));
    let by_name = place.baq("audit verify run --data old.hdf5");
    by_name.says(0, &["151 records agree"]);
    std::fs::remove_file(place.path("toy.hdf5")).unwrap();
    place.baq("audit verify run").says(2, &["toy.hdf5", "say where the data are with --data"]);
}

#[test]
fn what_cannot_be_verified_is_said() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 50 {SMALL}"));
    let plain = SMALL.replace("--ledger ", "");
    place.succeed(&format!("train --out plain --updates 50 {plain}"));
    place.baq("audit verify plain").says(2, &["expected a run with a ledger, got none; train with --ledger"]);
    place.baq("audit diff run plain").says(2, &["plain: expected the directory of a run with a ledger"]);
    place.baq("audit verify nothing").says(2, &["nothing: expected the directory of a run"]);
    place.baq("audit step run --update 51").says(2, &["--update: expected 1 to 50, got 51"]);
    // Half of what was planned.
    place.copy("plain", "begun");
    let config = std::fs::read_to_string(place.path("begun/config.toml")).unwrap();
    let longer = config.replace("\nupdates = 50\n", "\nupdates = 100\n");
    assert_ne!(config, longer);
    std::fs::write(place.path("begun/config.toml"), longer).unwrap();
    place
        .baq("audit step begun --update 60")
        .says(2, &["--update: expected at most 50", "got 60", "resume it first"]);
    place.baq("audit report plain").says(2, &["got neither"]);
    place
        .baq(&format!("train --out x --probe reference {SMALL}"))
        .says(2, &["expected `finite` or `reference:every=N`"]);

    // A run that has ended has checkpoints.
    place.copy("run", "bare");
    std::fs::remove_file(place.path("bare/checkpoint.safetensors")).unwrap();
    std::fs::remove_dir_all(place.path("bare/checkpoints")).unwrap();
    place.baq("audit verify bare").says(1, &["bare/checkpoint.safetensors: cannot read", "NOT verified"]);

    // With other numerics.
    place
        .baq("audit verify run --numerics bf16x3")
        .says(2, &["expected f32, this process uses bf16x3 by", "say --numerics f32"]);
    place.baq("train --resume run --quiet --numerics bf16").says(2, &["has f32, this process uses bf16"]);
    place.baq("audit verify run --numerics fp8").says(2, &["expected f32, bf16x6, bf16x3 or bf16"]);

    // Of another version.
    let ledger = std::fs::read(place.path("run/ledger.bin")).unwrap();
    let newer = [b"baq-ledger 7\n", &ledger[13..]].concat();
    std::fs::write(place.path("bare/ledger.bin"), newer).unwrap();
    place.baq("audit verify bare").says(1, &["expected a ledger of version 2, got version 7"]);

    // Of another run.
    place.succeed(&format!("train --out other --updates 50 --seed 1 {SMALL}"));
    place.copy("run", "mixed");
    std::fs::copy(place.path("other/ledger.bin"), place.path("mixed/ledger.bin")).unwrap();
    place
        .baq("audit verify mixed")
        .says(1, &["is not what the run began with", "they are of two runs", "NOT verified"]);
    let resumed = place.baq("train --resume mixed --quiet");
    resumed.says(2, &["mixed/ledger.bin: hash of the configuration: expected"]);
}

#[test]
fn two_runs_part_at_an_operation() {
    let place = Place::of(900);
    place.succeed(&format!("train --out a --updates 60 {SMALL}"));
    place.succeed(&format!("train --out b --updates 60 {SMALL}"));
    place.baq("audit diff a b").says(0, &["equal: 182 records"]);
    // The temperature is a constant of the policy's loss only.
    place.succeed(&format!("train --out c --updates 60 {SMALL} --set iql.temperature=2.5"));
    let ran = place.baq("audit diff a c");
    ran.says(1, &["the offline phases are different programs or have different constants"])
        .says(1, &["the ledgers part at record 2: offline update 1, policy: loss is"])
        .says(1, &["different in update 1, first in op/", ".policy", "temperature", "elements differ"]);
    // Data that were moved, and others, which name no update of these runs.
    std::fs::rename(place.path("toy.hdf5"), place.path("moved.hdf5")).unwrap();
    place
        .baq("audit diff a c")
        .says(2, &["toy.hdf5", "if the data were moved, say where they are with --data FILE"]);
    place.baq("audit diff a c --data moved.hdf5").says(1, &["different in update 1, first in op/"]);
    place.data("toy.hdf5", &synthetic::point(6, 900, 3, 1));
    for line in ["audit diff a c", "audit step a --update 1", "audit step a --update 1 --data toy.hdf5"] {
        place.baq(line).says(2, &["toy.hdf5: the run was configured for data with sha256"]);
    }
    place.succeed(&format!("train --out of_others --updates 60 {SMALL}"));
    place
        .baq("audit diff a of_others --data moved.hdf5")
        .says(2, &["--data moved.hdf5: expected runs on the same data"]);
    std::fs::rename(place.path("moved.hdf5"), place.path("toy.hdf5")).unwrap();
    // Another seed: other parameters from the beginning.
    place.succeed(&format!("train --out d --updates 60 --seed 3 {SMALL}"));
    place.baq("audit diff a d").says(1, &["seeds differ: 0 and 3", "the batches are drawn differently"]);
    // What is computed is the same, what is written is not.
    place.succeed(&format!(
        "train --out f --updates 60 {SMALL} --set offline.checkpoint_every=7 --set audit.keep_every=0"
    ));
    for two in ["a f", "f a"] {
        let equal = "all updates are equal; other records that differ: 1";
        let differ = ["files differ: checkpoint.safetensors, checkpoints/update-", ", config.toml"];
        place.baq(&format!("audit diff {two}")).says(0, &[differ[0], differ[1], equal]);
    }
    // A unit that the portable kernels never have: what another one computes would not be that run.
    place.copy("d", "e");
    let ledger = std::fs::read(place.path("d/ledger.bin")).unwrap();
    let (head, records) = ledger.split_at(records(&ledger)[0].start);
    let head = String::from_utf8(head.to_vec()).unwrap();
    let head = head.replace(baq_kernels::best().isa.name(), "portable");
    let head = head.replace(r#""numerics":"f32""#, r#""numerics":"bf16x6 by avx512_bf16""#);
    std::fs::write(place.path("e/ledger.bin"), [head.as_bytes(), records].concat()).unwrap();
    let ran = place.baq("audit diff a e");
    ran.says(2, &["e/ledger.bin: bits hold for one kind of numerics: expected bf16x6 by avx512_bf16"])
        .says(2, &["bf16x6 by emulated", "on a processor with the same unit"]);
}

#[test]
fn a_divergence_names_its_operation() {
    let place = Place::of(900);
    let ran = place.baq(&format!("train --out run --updates 60 --probe finite --set iql.value=1e30 {SMALL}"));
    ran.says(1, &["not finite: `%", "of the update", "in update 1; nothing before it was"]);
    // What led to it is on the disk.
    place.baq("audit step run --update 1").says(0, &["gradient/value/v.layer0.weight"]);
}

#[test]
fn rounds_repeated_in_f64_stay_close() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 60 --probe reference:every=20 {SMALL}"));
    let text = std::fs::read_to_string(place.path("run/roundoff.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("phase,update,loss,tensor,gradient,parameter"));
    let mut count = 0;
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        assert!(["20", "40", "60"].contains(&cells[1]), "{line}");
        let error = |k: usize| cells[k].parse::<f64>().unwrap();
        assert!(error(4) < 1e-3 && error(5) < 1e-4, "{line}");
        count += 1;
    }
    // 6 + 7 + 6 tensors and three losses, three times.
    assert_eq!(count, 3 * (19 + 3));
    // What is computed beside the run changes nothing in it.
    place.succeed(&format!("train --out plain --updates 60 {SMALL}"));
    place.baq("audit diff run plain").says(0, &["all updates are equal", "files differ", "roundoff.csv"]);
}

/// Critics that take several steps in a round are compared after each, and so are steps on zeros.
#[test]
fn every_step_of_a_round_is_compared() {
    let place = Place::of(900);
    let nets =
        "--quiet --threads 1 --set cql.policy_hidden=[8] --set cql.critic_hidden=[8] --set cql.samples=2";
    place.succeed(&format!(
        "train --algo wsrl --data toy.hdf5 --env toy --updates 10 --set offline.eval_episodes=0 {nets} --out base"
    ));
    place.succeed(
        "finetune --from base --adapt plain --env-steps 60 --set online.warmup_steps=20 --set online.eval_episodes=0 \
         --set online.batch=32 --set wsrl.compat_idle_steps=true --probe reference:every=10 --quiet --threads 1 --out run"
    );
    let text = std::fs::read_to_string(place.path("run/roundoff.csv")).unwrap();
    for name in ["q", "q 4", "policy idle", "policy idle 4", "policy"] {
        let mine = text.lines().filter(|line| line.split(',').nth(2) == Some(name));
        let errors: Vec<f64> = mine.map(|line| line.split(',').nth(5).unwrap().parse().unwrap()).collect();
        assert!(errors.len() > 8 && errors.iter().all(|error| *error < 1e-4), "{name}: {errors:?}");
    }
    place
        .succeed("audit step run --update 40 --export step.safetensors")
        .says(0, &["loss/policy idle 3", "loss/q 4"]);
}

/// Numbers of a tensor of a safetensors file.
fn tensor(file: &SafeTensors<'_>, name: &str) -> Vec<f64> {
    let view = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    view.data().chunks_exact(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect()
}

/// One update of BAQ by hand, from the indices of the batch to the parameters, out of the file that `audit step` writes.
#[test]
fn one_update_of_baq_can_be_followed_by_hand() {
    let place = Place::of(900);
    place.succeed(&format!("train --out run --updates 40 {SMALL}"));
    place.succeed(&format!("finetune --from run --out tuned --adapt baq --env-steps 20 {SMALL_ONLINE}"));
    place
        .succeed("audit step tuned --update 52 --export step.safetensors")
        .says(0, &["rows of the batch:", "batch/d2"]);
    place.baq("audit step tuned --update 52 --export step.safetensors").says(2, &["exists already"]);
    let bytes = std::fs::read(place.path("step.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let all = |name: &str| tensor(&file, name);
    let close = |what: &str, a: f64, b: f64| {
        assert!((a - b).abs() <= 2e-5 * a.abs().max(b.abs()) + 1e-9, "{what}: {a} and {b}");
    };

    // Indices to batch: offline rows carry 0, online ones 1.
    let rows = file.tensor("rows").unwrap();
    assert_eq!(rows.shape(), [32]);

    // A layer of two critics on (s, a), by hand.
    let layer = |x: &[f64], net: &str, k: usize, inputs: usize, relu: bool| -> Vec<f64> {
        let (w, b) =
            (all(&format!("before/{net}.layer{k}.weight")), all(&format!("before/{net}.layer{k}.bias")));
        let n = b.len();
        x.chunks_exact(inputs)
            .flat_map(|x| {
                (0..n)
                    .map(|c| {
                        let z = b[c] + x.iter().enumerate().map(|(i, x)| x * w[i * n + c]).sum::<f64>();
                        if relu { z.max(0.0) } else { z }
                    })
                    .collect::<Vec<_>>()
            })
            .collect()
    };
    let net = |x: &[f64], name: &str, inputs: usize| -> Vec<f64> {
        let h = layer(&layer(x, name, 0, inputs, true), name, 1, 8, true);
        layer(&h, name, 2, 8, false)
    };
    let (s, a) = (all("batch/s"), all("batch/a"));
    let sa: Vec<f64> = (0..32).flat_map(|i| [&s[3 * i..3 * i + 3], &a[i..i + 1]].concat()).collect();
    let (q0, q1) = (net(&sa, "q_target.0", 4), net(&sa, "q_target.1", 4));
    let v = net(&s, "v", 3);

    // L_V = E[w L_2^tau(min_j q^_j - V)], w = exp(-d2 / k): the weights follow from the loss with k from the data.
    let d2 = all("batch/d2");
    let k = d2_scale(&place);
    let tau = 0.7;
    let terms = |k: f64| -> f64 {
        (0..32)
            .map(|i| {
                let u = q0[i].min(q1[i]) - v[i];
                let w = (-d2[i] / k).exp();
                w * (tau - if u < 0.0 { 1.0_f64 } else { 0.0 }).abs() * u * u
            })
            .sum::<f64>()
            / 32.0
    };
    close("loss of V", terms(k), all("loss/value")[0]);

    // Gradient to parameter: one Adam step from the exported moments.
    let (g, before, after) = (
        all("gradient/value/v.layer2.weight"),
        all("before/v.layer2.weight"),
        all("applied/value/v.layer2.weight"),
    );
    let (m, n) = (all("before/adam.first.v.layer2.weight"), all("before/adam.second.v.layer2.weight"));
    let t = 52.0;
    for i in 0..g.len() {
        let m = 0.9 * m[i] + 0.1 * g[i];
        let n = 0.999 * n[i] + 0.001 * g[i] * g[i];
        let step = 3e-4 * (m / (1.0 - 0.9f64.powf(t))) / ((n / (1.0 - 0.999f64.powf(t))).sqrt() + 1e-8);
        close("a parameter", before[i] - step, after[i]);
        assert!(after[i] != before[i]);
    }

    // The slow copy at the end of the round.
    let (source, target) = (all("after/q.0.layer0.weight"), all("before/q_target.0.layer0.weight"));
    for ((q, t), new) in source.iter().zip(&target).zip(all("after/q_target.0.layer0.weight")) {
        close("a target", 0.995 * t + 0.005 * q, new);
    }
}

/// The scale of BAQ's weights as its configuration gives it.
fn d2_scale(place: &Place) -> f64 {
    let config: toml::Table =
        std::fs::read_to_string(place.path("tuned/config.toml")).unwrap().parse().unwrap();
    let value = &config["baq"]["k_q"];
    value.as_float().unwrap_or_else(|| panic!("baq.k_q is {value}"))
}

/// A line in words that can be compared: positions of operations may move, numbers may differ in their last digits.
fn comparable(line: &str) -> (String, Vec<f64>) {
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    for token in line.split_whitespace() {
        let number = token.contains('e') && token.parse::<f64>().is_ok();
        if number {
            numbers.push(token.parse().unwrap());
        } else if token != "..." {
            let digits = |c: char| c.is_ascii_digit();
            words.push(match token.starts_with("op/") || token.contains('%') {
                true => token.chars().filter(|c| !digits(*c)).collect(),
                false => token.to_string(),
            });
        }
    }
    (words.join(" "), numbers)
}

/// The worked example of the documentation prints what the documentation says.
#[test]
fn the_worked_example_is_true() {
    let page = include_str!("../src/audit/example.md");
    let block = page.split("```text").nth(1).unwrap().split("```").next().unwrap();
    let place = Place(tempfile::tempdir().unwrap());
    let mut out = String::new();
    let mut compared = 0;
    for line in block.lines().filter(|l| !l.is_empty()) {
        if let Some(command) = line.strip_prefix("$ baq ") {
            out = place.succeed(command).out;
            continue;
        }
        let (words, numbers) = comparable(line);
        let all: Vec<_> = out.lines().map(comparable).collect();
        let found =
            all.iter().find(|(w, _)| *w == words).unwrap_or_else(|| panic!("no line `{line}` in\n{out}"));
        for (a, b) in numbers.iter().zip(&found.1) {
            assert!((a - b).abs() <= 2e-3 * a.abs().max(1e-3), "{line}: {b}");
        }
        assert_eq!(numbers.len(), found.1.len(), "{line}");
        compared += numbers.len();
    }
    assert!(compared > 20, "{compared} numbers");
}
