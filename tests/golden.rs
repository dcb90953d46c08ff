//! Updates against traces of public reference programs (CORL; rlkit, CleanRL and TD3's own for the online methods), run
//! in f64 on synthetic batches with hidden layers of 32.

use std::path::PathBuf;

use baq::audit::golden;

fn compare(name: &str, losses: usize, f32_bound: f64) {
    compare_within(name, losses, (1e-10, f32_bound));
}

fn compare_within(name: &str, losses: usize, (f64_bound, f32_bound): (f64, f64)) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    let report = golden::compare(&path).unwrap_or_else(|e| panic!("{e}"));
    println!("{name}: f64 {:.1e}, f32 {:.1e}", report.worst_f64(), report.worst_f32());
    assert_eq!(report.updates, 10);
    assert!(report.tensors.iter().any(|d| d.after == 10), "nothing compared after 10 updates");
    assert_eq!(report.losses.len(), losses, "every loss of every update is compared");
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
