//! The peer in Rust: an axum server that does the 2 x 2 job and nothing else, on one thread.
//!
//! It has what costs little and helps: no layers, replies that go out at once, the product by a
//! plain loop, which at this size no library beats.

use std::net::{Ipv4Addr, SocketAddr};

use axum::http::StatusCode;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Operands {
    a: Vec<Vec<f64>>,
    b: Vec<Vec<f64>>,
}

#[derive(Serialize)]
struct Product {
    c: Vec<Vec<f64>>,
}

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port.expect("usage: axum-peer PORT")));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await?.tap_io(|stream| {
            stream.set_nodelay(true).expect("a stream just accepted takes options");
        });
        axum::serve(listener, Router::new().route("/v1/multiply", post(multiply))).await
    })
}

async fn multiply(Json(Operands { a, b }): Json<Operands>) -> Result<Json<Product>, StatusCode> {
    let columns = b.first().map_or(0, Vec::len);
    let is_sound =
        a.iter().all(|row| row.len() == b.len()) && b.iter().all(|row| row.len() == columns);
    if !is_sound {
        return Err(StatusCode::UNPROCESSABLE_ENTITY);
    }
    let row_of_c = |row_of_a: &Vec<f64>| {
        let mut row = vec![0.0; columns];
        for (left, row_of_b) in row_of_a.iter().zip(&b) {
            for (sum, right) in row.iter_mut().zip(row_of_b) {
                *sum += left * right;
            }
        }
        row
    };
    Ok(Json(Product { c: a.iter().map(row_of_c).collect() }))
}
