//! Simulations against one who did not make them: a replay of what was written, and the generator's distributions.

use std::collections::BTreeMap;
use std::time::Duration;

use pointsman_vxi::embed::Effort;
use pointsman_vxi::simulate::generate::{Plan, waxman};
use pointsman_vxi::simulate::instance::Instance;
use pointsman_vxi::simulate::proof::Sampling;
use pointsman_vxi::simulate::{Algorithm, Outcome, Settings, run};

/// Replays an outcome from its file alone: hosts and links by their numbers.
fn replay(instance: &Instance, outcome: &Outcome) -> Result<usize, String> {
    let mut cpu: Vec<i64> = instance.physical.cpu.iter().map(|&cpu| cpu as i64).collect();
    let mut free: BTreeMap<(u32, u32), i64> = BTreeMap::new();
    for &(a, b, bandwidth) in &instance.physical.links {
        *free.entry((a.min(b), a.max(b))).or_default() += bandwidth as i64;
    }
    let mut there: BTreeMap<usize, (Vec<u32>, Vec<Vec<u32>>)> = BTreeMap::new();
    let mut shift = |id: usize, place: &(Vec<u32>, Vec<Vec<u32>>), sign: i64| -> Result<(), String> {
        let asked = &instance.requests[id];
        let mut hosts = place.0.clone();
        hosts.sort_unstable();
        hosts.dedup();
        if hosts.len() != asked.cpu.len() || place.1.len() != asked.links.len() {
            return Err(format!("{id}: not all placed, or on hosts of their own"));
        }
        for (&host, &demand) in place.0.iter().zip(&asked.cpu) {
            cpu[host as usize] += sign * demand as i64;
            if cpu[host as usize] < 0 {
                return Err(format!("{id}: host {host} is over capacity"));
            }
        }
        for (&(a, b, bandwidth), path) in asked.links.iter().zip(&place.1) {
            if path.first() != Some(&place.0[a as usize]) || path.last() != Some(&place.0[b as usize]) {
                return Err(format!("{id}: a path does not join its ends"));
            }
            for hop in path.windows(2) {
                let link = free.get_mut(&(hop[0].min(hop[1]), hop[0].max(hop[1]))).ok_or("no such link")?;
                *link += sign * bandwidth as i64;
                if *link < 0 {
                    return Err(format!("{id}: link {hop:?} is over capacity"));
                }
            }
        }
        Ok(())
    };
    let mut moved = 0;
    for &(_, kind, id) in &instance.events {
        if kind == 0 {
            if let Some(place) = there.remove(&id) {
                shift(id, &place, 1)?;
            }
            continue;
        }
        let answer = &outcome.requests[id];
        if !answer.accepted {
            continue;
        }
        for step in &answer.moves {
            let old = there.remove(&step.id).ok_or("what is not there cannot move")?;
            shift(step.id, &old, 1)?;
            let new = (step.nodes.clone(), step.paths.clone());
            shift(step.id, &new, -1)?;
            there.insert(step.id, new);
            moved += 1;
        }
        let place = (answer.nodes.clone(), answer.paths.clone());
        shift(id, &place, -1)?;
        there.insert(id, place);
    }
    Ok(moved)
}

#[test]
fn every_algorithm_keeps_the_rules_on_a_generated_instance() {
    let instance = waxman(&Plan { seed: 7, hosts: 30, requests: 120, arrivals: 0.1 });
    assert_eq!(instance.check(), Ok(()));
    let effort = Effort::default();
    let mut rac = Vec::new();
    let exact = Algorithm::Exact(Duration::from_millis(20));
    for (algorithm, moves) in
        [(Algorithm::Joint, 0), (Algorithm::Joint, 3), (Algorithm::Grc, 0), (Algorithm::Nrm, 0), (exact, 0)]
    {
        let settings = Settings { algorithm, admission: false, moves, effort, prove: None };
        let outcome = run(&instance, settings, || ()).unwrap();
        let text = serde_json::to_string(&outcome).unwrap();
        let read: Outcome = serde_json::from_str(&text).unwrap();
        let moved = replay(&instance, &read).unwrap();
        assert_eq!(moved > 0, moves > 0, "moves where they are allowed, and only there");
        rac.push(outcome.rac);
    }
    assert!(rac[0] > rac[2] && rac[0] > rac[3], "placing jointly accepts more than ranking does: {rac:?}");
}

#[test]
fn a_sample_of_proofs_says_how_far_from_the_optimum_the_heuristic_is() {
    let instance = waxman(&Plan { seed: 11, hosts: 20, requests: 60, arrivals: 0.05 });
    let prove = Some(Sampling { requests: 7, time: Duration::from_secs(5) });
    let effort = Effort::default();
    let settings = Settings { algorithm: Algorithm::Joint, admission: false, moves: 0, effort, prove };
    let with = run(&instance, settings, || ()).unwrap();
    let proofs = with.proofs.as_ref().unwrap();
    assert_eq!(proofs.sampled, 7);
    assert!(proofs.compared + proofs.missed <= proofs.proved && proofs.compared > 0, "{proofs:?}");
    assert!(0.0 <= proofs.gap_mean && proofs.gap_mean <= proofs.gap_most && proofs.gap_most < 100.0, "{proofs:?}");
    let without = run(&instance, Settings { prove: None, ..settings }, || ()).unwrap();
    assert_eq!(with.requests, without.requests, "proving changes no answer");
}

#[test]
fn a_seed_names_an_instance() {
    let plan = Plan { seed: 42, hosts: 100, requests: 1000, arrivals: 0.16 };
    let instance = waxman(&plan);
    assert_eq!(instance, waxman(&plan));
    assert_ne!(instance, waxman(&Plan { seed: 43, ..plan }));
    let mean = |values: &mut dyn Iterator<Item = f64>| {
        let values: Vec<f64> = values.collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let requests = &instance.requests;
    let close = |found: f64, wanted: f64| assert!((found / wanted - 1.0).abs() < 0.1, "{found} for {wanted}");
    close(mean(&mut requests.iter().map(|r| r.lifetime)), 500.0);
    close(mean(&mut requests.iter().map(|r| r.cpu.len() as f64)), 6.0);
    close(mean(&mut requests.iter().flat_map(|r| r.cpu.iter().map(|&cpu| cpu as f64))), 10.0);
    close(mean(&mut requests.iter().flat_map(|r| r.links.iter().map(|link| link.2 as f64))), 25.0);
    close(requests[999].arrival / 1000.0, 6.25);
    assert!(instance.physical.cpu.iter().all(|cpu| (50..=100).contains(cpu)));
}
