//! Updates against traces of public reference programs (CORL; rlkit, CleanRL and TD3's own for the online methods), run
//! in f64 on synthetic batches with hidden layers of 32.

use std::collections::BTreeMap;
use std::path::PathBuf;

use baq::audit::golden::{self, GoldenError, Report};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::Value;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// How many tensors of a trace are no parameters (actions, named results, priorities), and the note of those that are not
/// compared.
fn beside_parameters(name: &str) -> (usize, Option<&'static str>) {
    match name {
        // Four results of each update, and two ways of acting.
        "pex-hopper.safetensors" => (42, None),
        "e2o-online-hopper.safetensors" => (11, None),
        "off2on-hopper.safetensors" | "off2on-one-hopper.safetensors" | "off2on-five.safetensors" => {
            (10, None)
        }
        // Without a constraint its multiplier is nothing here.
        "cql-hopper.safetensors"
        | "cql-no-importance.safetensors"
        | "cal-ql-hopper.safetensors"
        | "baq-cql-hopper.safetensors" => {
            (0, Some("not compared: after.I.log_alpha_prime (3), init.log_alpha_prime"))
        }
        // The one last layer of all critics stands in the trace once for each.
        "wsrl-hopper.safetensors" => (
            0,
            Some(
                "not compared: after.I.critic_2.net.2.bias (3), after.I.critic_2.net.2.weight (3), \
                 after.I.critic_3.net.2.bias (3), after.I.critic_3.net.2.weight (3), \
                 after.I.critic_4.net.2.bias (3), after.I.critic_4.net.2.weight (3), \
                 after.I.critic_5.net.2.bias (3), after.I.critic_5.net.2.weight (3) and 24 more",
            ),
        ),
        _ => (0, None),
    }
}

/// Notes of what is in a trace and was not read; of logged values losses alone are compared.
fn unread(report: &Report) -> Vec<&str> {
    let notes = report.notes.iter().map(String::as_str);
    let unread = notes.filter(|n| n.starts_with("draws ") || n.starts_with("not compared: "));
    unread.filter(|n| !n.starts_with("not compared: logs[")).collect()
}

fn compare(name: &str, losses: usize, f32_bound: f64) {
    compare_within(name, losses, (1e-10, f32_bound));
}

fn compare_within(name: &str, losses: usize, (f64_bound, f32_bound): (f64, f64)) {
    let report = golden::compare(&path(name)).unwrap_or_else(|e| panic!("{e}"));
    println!("{name}: f64 {:.1e}, f32 {:.1e}", report.worst_f64(), report.worst_f32());
    assert_eq!(report.updates, 10);
    assert!(report.tensors.iter().any(|d| d.after == 10), "nothing compared after 10 updates");
    assert_eq!(report.losses.len(), losses, "every loss of every update is compared");
    let (others, note) = beside_parameters(name);
    assert_eq!(report.tensors.iter().filter(|d| !d.path.contains('.')).count(), others, "{name}");
    assert_eq!(unread(&report), Vec::from_iter(note), "{name}");
    assert!(report.worst_f64() <= f64_bound, "{name}: f64 differs by {:e}", report.worst_f64());
    assert!(report.worst_f32() <= f32_bound, "{name}: f32 differs by {:e}", report.worst_f32());
    // The two executors are different programs: agreement to the last bit would mean one is checked with itself.
    assert!(report.worst_f32() > report.worst_f64());
}

#[test]
fn iql_gaussian() {
    compare("iql-hopper.safetensors", 30, 2e-4);
}

#[test]
fn iql_deterministic() {
    compare("iql-deterministic.safetensors", 30, 2e-4);
}

#[test]
fn baq_over_iql() {
    compare("baq-iql-hopper.safetensors", 30, 2e-4);
}

#[test]
fn pex_over_iql() {
    // Also the choice between its two policies, while learning and acting.
    // Some gradients of Q are so small that Adam makes 1e-11 of a rounding error in its first two steps.
    compare_within("pex-hopper.safetensors", 0, (1e-9, 2e-4));
}

#[test]
fn rlpd() {
    // Two rounds of the critics, each on its half of the batch, then one of the policy.
    compare("rlpd-hopper.safetensors", 20, 2e-4);
}

#[test]
fn famo2o_offline() {
    compare("famo2o-iql-offline-hopper.safetensors", 30, 2e-4);
}

#[test]
fn famo2o_online() {
    compare("famo2o-iql-online-hopper.safetensors", 30, 2e-4);
}

#[test]
fn famo2o_as_released() {
    // A row is weighed with the coefficients of all rows.
    compare("famo2o-iql-offline-released-hopper.safetensors", 30, 2e-4);
    compare("famo2o-iql-online-released-hopper.safetensors", 30, 2e-4);
}

#[test]
fn td3_bc() {
    // The policy moves in every second update.
    compare("td3-bc-hopper.safetensors", 15, 5e-4);
}

#[test]
fn cql() {
    compare("cql-hopper.safetensors", 30, 5e-4);
}

#[test]
fn cql_lagrange_and_max_backup() {
    compare("cql-lagrange-maxbackup.safetensors", 40, 5e-4);
}

#[test]
fn cql_without_importance() {
    compare("cql-no-importance.safetensors", 30, 5e-4);
}

#[test]
fn cal_ql() {
    compare("cal-ql-hopper.safetensors", 30, 5e-4);
}

#[test]
fn baq_over_cql() {
    compare("baq-cql-hopper.safetensors", 30, 5e-4);
}

#[test]
fn awac_with_a_linear_mean() {
    compare("awac-hopper.safetensors", 20, 2e-4);
}

#[test]
fn awac_with_a_tanh_mean() {
    compare("awac-tanh-hopper.safetensors", 20, 2e-4);
}

#[test]
fn awac_again() {
    // Other numbers and networks of CORL's class than in the one above.
    compare("awac-ring2-hopper.safetensors", 20, 2e-4);
}

#[test]
fn rebrac() {
    // The policy moves in the first of every two updates.
    compare("rebrac-hopper.safetensors", 15, 5e-4);
}

#[test]
fn spot_fits_its_autoencoder() {
    compare("spot-vae-hopper.safetensors", 10, 5e-4);
}

#[test]
fn spot_fine_tunes() {
    // The weight of the support falls from update to update.
    compare("spot-hopper.safetensors", 15, 5e-4);
}

#[test]
fn wsrl() {
    // Four steps of the critics on a quarter of the rows each, one last layer for all, optimisers that step on zeros.
    compare("wsrl-hopper.safetensors", 20, 5e-4);
}

#[test]
fn fql() {
    compare("fql-hopper.safetensors", 20, 5e-4);
}

#[test]
fn sac() {
    compare("sac-hopper.safetensors", 30, 2e-4);
}

#[test]
fn sac_in_the_order_of_cleanrl() {
    // Two updates of policy and temperature in every second one of Q.
    compare("sac-cleanrl-hopper.safetensors", 30, 2e-4);
}

#[test]
fn sac_n() {
    // Temperature, policy and five critics, each on what moved before it.
    compare("sac-n-hopper.safetensors", 30, 2e-4);
}

#[test]
fn edac() {
    // The same beside a term that trains through the slopes of the critics.
    compare("edac-hopper.safetensors", 30, 5e-4);
}

#[test]
fn e2o_over_cql_of_five_critics() {
    // Also its target, and the action that it chooses for its optimism.
    compare("e2o-online-hopper.safetensors", 30, 5e-4);
}

#[test]
fn td3() {
    compare("td3-hopper.safetensors", 15, 2e-4);
}

/// Below 1/2, |τ - 1| is rounded once more than τ where a program forms both in single precision.
#[test]
fn iql_with_a_low_expectile_in_single_precision() {
    compare("iql-low-expectile.safetensors", 30, 2e-4);
}

/// Hidden layers of unequal widths, one action, policy and temperature three times in every third round.
#[test]
fn sac_with_three_updates_of_the_policy() {
    compare("sac-cleanrl-three.safetensors", 28, 2e-4);
}

#[test]
fn so2_over_cql() {
    compare("so2-cql-hopper.safetensors", 30, 5e-4);
}

#[test]
fn so2_over_an_ensemble_of_critics() {
    // The policy moves in every fifth update, against the new Q.
    compare("so2-edac-hopper.safetensors", 12, 5e-4);
}

#[test]
fn off2on() {
    // Three agents; the density ratio has its loss and its priorities.
    compare("off2on-hopper.safetensors", 40, 5e-4);
}

#[test]
fn off2on_of_one_agent() {
    compare("off2on-one-hopper.safetensors", 40, 5e-4);
}

/// Five agents with other sizes, rates and T, by a program in JAX written from the equations; as the next one.
#[test]
fn off2on_of_five_agents() {
    compare("off2on-five.safetensors", 40, 5e-4);
}

#[test]
fn so2_over_six_critics() {
    // The policy moves in every third update.
    compare("so2-edac-six.safetensors", 13, 5e-4);
}

type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

/// Compares a copy of a trace with other tensors and another JSON.
fn edited(name: &str, edit: impl Fn(&mut Tensors), json: impl Fn(&mut Value)) -> Result<Report, GoldenError> {
    let bytes = std::fs::read(path(name)).expect("a trace");
    let file = SafeTensors::deserialize(&bytes).expect("tensors");
    let mut tensors: Tensors =
        file.iter().map(|(k, v)| (k.into(), (v.dtype(), v.shape().to_vec(), v.data().to_vec()))).collect();
    edit(&mut tensors);
    let text = std::fs::read_to_string(path(name).with_extension("json")).expect("its JSON");
    let mut value: Value = serde_json::from_str(&text).expect("JSON");
    json(&mut value);
    let folder = tempfile::tempdir().expect("a folder");
    let copy = folder.path().join(name);
    let views =
        tensors.iter().map(|(k, (t, s, d))| (k, TensorView::new(*t, s.clone(), d).expect("a tensor")));
    std::fs::write(&copy, safetensors::serialize(views, None).expect("tensors")).expect("a file");
    std::fs::write(copy.with_extension("json"), value.to_string()).expect("a file");
    golden::compare(&copy)
}

#[test]
fn what_is_not_compared_is_named() {
    let rename = |tensors: &mut Tensors, from: &str, to: &str| {
        let all = std::mem::take(tensors).into_iter();
        *tensors = all
            .map(|(key, tensor)| match key.strip_prefix(from) {
                Some(rest) => (format!("{to}{rest}"), tensor),
                None => (key, tensor),
            })
            .collect();
    };
    let misspelt = edited(
        "pex-hopper.safetensors",
        |tensors| {
            rename(tensors, "act.explore.", "act.exploit.");
            rename(tensors, "extra.3.q", "extra.3.value");
            for (from, to) in
                [("batch.0.actions", "bath.0.actions"), ("noise.0.0.normal", "noise.10.0.normal")]
            {
                let tensor = tensors[from].clone();
                tensors.insert(to.into(), tensor);
            }
        },
        |_| {},
    );
    let report = misspelt.unwrap_or_else(|e| panic!("{e}"));
    assert!(report.passed(), "{}", report.verdict());
    let notes = [
        "draws that no loss here reads: 1, the first noise.10.0.normal",
        "not compared: act.exploit.action, act.exploit.noise.I.0.normal (8), act.exploit.noise.I.1.unit (8), \
         bath.I.actions, extra.I.value",
    ];
    assert_eq!(unread(&report), notes);
    let logs = "not compared: logs[I].mean_probability_own (10), logs[I].share_own (10)";
    assert!(report.notes.iter().any(|note| note == logs), "{:?}", report.notes);

    // The policy moves in every second update; where it does not, there is no loss to compare.
    let more = |json: &mut Value| {
        for entry in json["logs"].as_array_mut().expect("a list") {
            let entry = entry.as_object_mut().expect("values by name");
            entry.entry("actor_loss").or_insert(Value::from(0.1));
            for i in 0..9 {
                entry.insert(format!("diagnostic_{i}"), Value::from(i));
            }
        }
    };
    let report = edited("td3-hopper.safetensors", |_| {}, more).unwrap_or_else(|e| panic!("{e}"));
    assert!(report.passed(), "{}", report.verdict());
    let logs = "not compared: logs[I].actor_loss (5 of 10), logs[I].diagnostic_0 (10)";
    let note = report.notes.iter().find(|note| note.starts_with(logs)).expect("a note of them");
    assert!(note.ends_with("logs[I].diagnostic_6 (10) and 2 more"), "{note}");
}

#[test]
fn results_of_updates_that_are_not_there_are_refused() {
    for (from, to, words) in [
        ("extra.3.q", "extra.10.q", ["extra.10", "from 0 to 9"]),
        ("extra.3.q", "extra.x.q", ["extra.x", "from 0 to 9"]),
        ("extra.3.q", "priority.10", ["priority.10", "from 0 to 9"]),
        ("extra.3.q", "after.11.q", ["after.11", "from 1 to 10"]),
    ] {
        let refused = edited(
            "pex-hopper.safetensors",
            |tensors| {
                let tensor = tensors[from].clone();
                tensors.insert(to.into(), tensor);
            },
            |_| {},
        );
        let text = refused.expect_err("it is refused").to_string();
        assert!(words.iter().all(|word| text.contains(word)), "{text}");
    }
}
