use std::time::Instant;
use pointsman_vxi::{embed::*, simulate::{generate, instance::Instance}};
fn main() {
    for file in std::env::args().skip(1) {
        let (name, seed) = file.split_once('@').unwrap_or((&file, ""));
        let mut inst: Instance = serde_json::from_str(&std::fs::read_to_string(&name).unwrap()).unwrap();
        if let Ok(seed) = seed.parse() {
            let plan = generate::Plan { seed, hosts: 100, requests: 1000, arrivals: inst.arrival_lam };
            inst = if name.contains("wx") { generate::waxman(&plan) } else { generate::like(&plan, &inst) };
        }
        let sub = inst.substrate().unwrap();
        let reqs: Vec<Request> = inst.requests.iter().map(|r| r.request().unwrap()).collect();
        let mut free = Residual::whole(&sub, 1);
        let mut got: Vec<Option<Embedding>> = vec![None; reqs.len()];
        let k3: f64 = std::env::var("KNOBS").ok().and_then(|k| k.split(',').nth(3)?.parse().ok()).unwrap_or(0.0);
        let ef: Vec<u64> = std::env::var("EFFORT").unwrap_or_default().split(',').filter_map(|k| k.parse().ok()).collect();
        let mut e = Embedder::new(&sub);
        if ef.len() == 4 { e = Embedder::with_effort(&sub, Effort { roots: ef[0], improve: ef[1], rescue: ef[2], steps: ef[3] }); }
        let prove: usize = std::env::var("PROVE").ok().and_then(|k| k.parse().ok()).unwrap_or(0);
        let (mut proved, mut tried, mut gap, mut gaps) = (0, 0, 0.0, 0);
        let (mut rev, mut cost) = (0.0, 0.0);
        let mut times = vec![];
        let (mut seen, mut mean, mut full) = (0.0, 0.0, 0.0); let mut acc = 0; let mut se = 0; let mut byn = [[0;2]; 11];
        let start_all = Instant::now();
        let (mut cu, mut bu, mut ct) = (0.0, 0.0, 0.0); let mut last = 0.0; let tc: u64 = inst.physical.cpu.iter().sum(); let tb: u64 = inst.physical.links.iter().map(|l| l.2).sum();
        let from = inst.requests[inst.requests.len()/4].arrival; let till = inst.requests.last().unwrap().arrival;
        for &(at, kind, id) in &inst.events {
            if at > from && at <= till { let d = at - last; ct += d; let fc: u64 = (0..sub.hosts() as u32).map(|h| free.host_free(HostId(h), 0, 0)).sum(); let fb: u64 = (0..sub.links().len() as u32).map(|l| free.link_free(LinkId(l), 0)).sum(); cu += d * (1.0 - fc as f64 / tc as f64); bu += d * (1.0 - fb as f64 / tb as f64); }
            last = at;
            if kind == 1 {
                let t = Instant::now();
                let mut r = e.embed(&free, &reqs[id]);
                if prove > 0 && id % (reqs.len() / prove) == reqs.len() / prove / 2 {
                    let t = Instant::now();
                    let p = e.prove(&free, &reqs[id], std::time::Duration::from_secs(10));
                    tried += 1;
                    let hc = r.as_ref().ok().map(|em| em.routes.iter().flatten().map(|s| s.links.len() as u64 * s.bandwidth[0]).sum::<u64>());
                    if p.proved { proved += 1; if let Some(h) = hc { gaps += 1; gap += if h > 0 { (h - p.cost) as f64 / p.cost as f64 } else { 0.0 }; } }
                    if std::env::var("V").is_ok() || !p.proved { println!("  {id} n {} m {} floor {} heur {:?} exact {} bound {} proved {} {:.2}s", reqs[id].nodes().len(), reqs[id].links().len(), reqs[id].links().iter().map(|l| l.bandwidth[0]).sum::<u64>(), hc, p.cost, p.bound, p.proved, t.elapsed().as_secs_f64()); }
                }
                let rl = reqs[id].revenue() as f64 * inst.requests[id].lifetime;
                seen += 1.0; mean += (rl - mean) / f64::min(seen, 200.0);
                full += (if r.is_err() { 1.0 } else { 0.0 } - full) / 64.0;
                if let Ok(em) = &r {
                    let c: u64 = em.routes.iter().flatten().map(|s| s.links.len() as u64 * s.bandwidth[0]).sum();
                    let waste = ((c + reqs[id].node_cost()) as f64 - reqs[id].revenue() as f64) * inst.requests[id].lifetime;
                    if k3 > 0.0 && waste * full > k3 * mean { r = Err(Refusal::Nowhere { proved: false }); }
                }
                times.push(t.elapsed().as_secs_f64() * 1e3);
                se += 1;
                let n = reqs[id].nodes().len();
                byn[n][0] += 1;
                if let Ok(em) = r {
                    acc += 1; byn[n][1] += 1;
                    free.take(&reqs[id], &em);
                    let c: u64 = em.routes.iter().flatten().map(|s| s.links.len() as u64 * s.bandwidth[0]).sum();
                    rev += reqs[id].revenue() as f64 * inst.requests[id].lifetime;
                    cost += (c + reqs[id].node_cost()) as f64 * inst.requests[id].lifetime;
                    got[id] = Some(em);
                }
            } else if let Some(em) = got[id].take() { free.give(&reqs[id], &em); }
        }
        let all = start_all.elapsed().as_secs_f64();
        times.sort_by(f64::total_cmp);
        if prove > 0 { println!("proved {proved}/{tried} mean gap {:.4}", gap / f64::from(gaps)); }
        let name = file.rsplit('/').next().unwrap();
        println!("{name:18} cpu {:.1} bw {:.1} RAC {:.2} LRC {:.4} LAR {:.0} mean {:.3} ms p99 {:.2} ms  searches/req {} us/search {:.2} {:?}", cu/ct*100.0, bu/ct*100.0, acc as f64 / reqs.len() as f64 * 100.0, rev / cost,
            rev / inst.events.last().unwrap().0, times.iter().sum::<f64>() / times.len() as f64, times[times.len() * 99 / 100], se / reqs.len() as u64, all*1e6/se as f64, byn[2..].iter().map(|x| x[1]*100/x[0].max(1)).collect::<Vec<_>>());
    }
}
