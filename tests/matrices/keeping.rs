//! How long matrices are kept, and under which names.

use gemmule::gemm::Dtype;
use serde_json::json;

use crate::bench::{Bench, Raw, kind};

#[test]
fn a_matrix_goes_when_its_time_is_up_unless_it_is_pinned() {
    let mut bench = Bench::in_memory();
    let [short, pinned, long] = [1, 2, 3].map(|seed| Raw::random(Dtype::F64, 8, 8, seed));
    let view = bench.store(0, &short, "&ttl_seconds=60").json();
    assert_eq!(view["expires_at"], "2026-11-24T08:01:00Z", "{view}");
    bench.store(0, &pinned, "&ttl_seconds=60&pinned=true");
    bench.store(0, &long, "");
    assert!(bench.server.next_deadline_ns().is_some());
    bench.wait(59);
    assert_eq!(bench.get(&short.path()).status, 200);
    bench.wait(1);
    assert_eq!(kind(&bench.get(&short.path())), "unknown-matrix");
    assert_eq!(bench.get("/v1/matrices").json()["count"], 2);
    // Once it is not pinned any more, its time is up.
    let view = bench.change("PATCH", &pinned.path(), &json!({"pinned": false}));
    assert_eq!((view.status, &view.json()["pinned"]), (200, &false.into()));
    bench.wait(0);
    assert_eq!(kind(&bench.get(&pinned.path())), "unknown-matrix");
    let view = bench.change("PATCH", &long.path(), &json!({"ttl_seconds": 10}));
    assert_eq!(view.json()["expires_at"], "2026-11-24T08:01:10Z");
    let view = bench.change("PATCH", &long.path(), &json!({"ttl_seconds": null}));
    assert_eq!(view.json()["expires_at"], json!(null));
    bench.wait(100_000);
    assert_eq!(bench.get(&long.path()).status, 200);
    for wrong in [json!({"ttl_seconds": 0}), json!({"name": "x"}), json!([])] {
        assert!(bench.change("PATCH", &long.path(), &wrong).status >= 400, "{wrong}");
    }
}

#[test]
fn what_is_stored_again_is_kept_as_long_as_either_says() {
    let mut bench = Bench::in_memory();
    let matrix = Raw::random(Dtype::F64, 8, 8, 1);
    bench.store(0, &matrix, "&ttl_seconds=60");
    let view = bench.store(0, &matrix, "&ttl_seconds=120").json();
    assert_eq!(view["expires_at"], "2026-11-24T08:02:00Z");
    let view = bench.store(0, &matrix, "").json();
    assert_eq!((&view["expires_at"], bench.server.promised_bytes()), (&json!(null), 512));
}

#[test]
fn names_are_of_an_account_and_of_what_it_keeps() {
    let mut bench = Bench::in_memory();
    let [one, two] = [1, 2].map(|seed| Raw::random(Dtype::F64, 8, 8, seed));
    assert_eq!(bench.store(0, &one, "&name=weights").json()["references"], json!(["weights"]));
    bench.store(0, &two, "");
    let named = bench.get("/v1/references/weights").json();
    assert_eq!(named["matrix"], one.id().to_string());
    let moved = json!({"matrix": two.id().to_string()});
    assert_eq!(bench.change("PUT", "/v1/references/weights", &moved).status, 200);
    assert_eq!(bench.change("PUT", "/v1/references/also", &moved).status, 200);
    let list = bench.get("/v1/references?limit=1").json();
    assert_eq!((&list["references"][0]["name"], &list["next"]), (&json!("also"), &json!("also")));
    let list = bench.get("/v1/references?after=also").json();
    assert_eq!((&list["references"][0]["name"], &list["next"]), (&json!("weights"), &json!(null)));
    assert_eq!(bench.ask(0, "DELETE", "/v1/references/also", &[], None).status, 204);
    assert_eq!(kind(&bench.get("/v1/references/also")), "unknown-reference");
    let unknown = json!({"matrix": Raw::random(Dtype::F64, 1, 1, 9).id().to_string()});
    let refused = bench.change("PUT", "/v1/references/also", &unknown);
    assert_eq!(kind(&refused), "unknown-matrix");
    bench.ask(0, "DELETE", &two.path(), &[], None);
    assert_eq!(kind(&bench.get("/v1/references/weights")), "unknown-reference");
    assert_eq!(bench.get("/v1/references").json()["references"], json!([]));
}

#[test]
fn lists_come_in_pages_by_address() {
    let mut bench = Bench::in_memory();
    let mut ids: Vec<String> = (0..7)
        .map(|seed| {
            let matrix = Raw::random(Dtype::F64, 2, 2, seed);
            bench.store(0, &matrix, "");
            matrix.id().to_string()
        })
        .collect();
    ids.sort();
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let list = bench.get(&format!("/v1/matrices?limit=3{after}")).json();
        assert_eq!((&list["count"], &list["bytes"]), (&7.into(), &224.into()));
        let matrices = list["matrices"].as_array().expect("a list");
        found.extend(matrices.iter().map(|it| it["matrix"].as_str().expect("an id").to_owned()));
        let Some(next) = list["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    assert_eq!(found, ids);
    assert_eq!(kind(&bench.get("/v1/matrices?limit=0")), "invalid-value");
}

#[test]
fn an_account_keeps_no_more_than_it_may() {
    let mut bench = Bench::in_memory();
    let [one, two, three] = [1, 2, 3].map(|seed| Raw::random(Dtype::F64, 8, 8, seed));
    bench.limit(1024);
    assert_eq!(bench.store(0, &one, "").status, 201);
    // What is coming in counts from its first chunk on.
    let begin = format!("/v1/matrices/uploads?{}", two.query());
    let upload = bench.ask(0, "POST", &begin, &[], None);
    let upload = upload.field("Location").expect("where it is").to_owned();
    assert_eq!(bench.ask(0, "PATCH", &upload, &[], Some(&two.bytes[..8])).status, 202);
    let list = bench.get("/v1/matrices").json();
    assert_eq!((&list["bytes"], &list["bytes_max"]), (&1024.into(), &1024.into()));
    for refused in [bench.store(0, &three, ""), bench.ask(0, "POST", &begin, &[], None)] {
        assert_eq!((refused.status, &*kind(&refused)), (507, "storage-exceeded"));
        assert_eq!(refused.json()["limit"], 1024);
    }
    assert_eq!(bench.store(0, &one, "").status, 201, "what is there already takes no more");
    assert_eq!(bench.store(1, &three, "").status, 201, "it is acme's limit");
    assert_eq!(bench.ask(0, "DELETE", &upload, &[], None).status, 204);
    assert_eq!(bench.store(0, &three, "").status, 201);
}
