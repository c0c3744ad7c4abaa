//! From an item's number to the function that decides it.
//!
//! Must never judge: a number that no function has fails.

use super::{
    exporter_connection, exporter_content, exporter_request, exporter_retry, exporter_setup,
    exporter_throttle, grpc_failure, grpc_success, http_failure, http_success, json, json_values, overload,
    waiting,
};
use crate::conformance::verdict::{Seen, fail};
use crate::conformance::world::World;

/// Decides an item of the catalogue.
pub(in crate::conformance) async fn decide(id: &str, world: &World) -> Seen {
    match id.as_bytes().first() {
        Some(b'G') => grpc(id, world).await,
        Some(b'H') => http(id, world).await,
        Some(b'J') => of_json(id, world).await,
        _ => exporter(id, world).await,
    }
}

async fn grpc(id: &str, world: &World) -> Seen {
    match id {
        "G01" => grpc_success::g01_signals(world).await,
        "G02" => grpc_success::g02_port(world).await,
        "G03" => grpc_success::g03_encodings(world).await,
        "G04" => grpc_failure::g04_bomb(world).await,
        "G05" => grpc_success::g05_limit(world).await,
        "G06" => grpc_failure::g06_over_limit(world).await,
        "G07" => grpc_success::g07_empty_response(world).await,
        "G08" => grpc_success::g08_empty_request(world).await,
        "G09" => waiting::g09_partial(world).await,
        "G10" => waiting::g10_warning(world).await,
        "G11" => overload::g11_unavailable(world).await,
        "G12" => grpc_failure::g12_garbage(world).await,
        "G13" => overload::g13_backpressure(world).await,
        "G14" => grpc_failure::g14_response_size(world).await,
        "G15" => grpc_success::g15_parallel(world).await,
        "G16" => grpc_success::g16_unknown_fields(world).await,
        _ => fail("not an item"),
    }
}

async fn http(id: &str, world: &World) -> Seen {
    match id {
        "H01" => http_success::h01_paths(world).await,
        "H02" => http_success::h02_types(world).await,
        "H03" => http_success::h03_one_port(world).await,
        "H04" => http_success::h04_grpc_too(world).await,
        "H05" => http_success::h05_encodings(world).await,
        "H06" => http_failure::h06_over_limit(world).await,
        "H07" => http_success::h07_success(world).await,
        "H08" => waiting::h08_partial(world).await,
        "H09" => http_failure::h09_status_bodies(world).await,
        "H10" => http_failure::h10_bad_data(world).await,
        "H11" => overload::h11_backpressure(world).await,
        "H12" => http_failure::h12_consistent(world).await,
        "H13" => http_failure::h13_response_size(world).await,
        "H14" => http_success::h14_gzip_response(world).await,
        "H15" => http_success::h15_keep_alive(world).await,
        "H16" => http_success::h16_empty_body(world).await,
        _ => fail("not an item"),
    }
}

async fn of_json(id: &str, world: &World) -> Seen {
    match id {
        "J01" => json::j01_ids(world).await,
        "J02" => json::j02_enums(world).await,
        "J03" => json::j03_unknown_names(world).await,
        "J04" => json::j04_names(world).await,
        "J05" => json_values::j05_integers(world).await,
        "J06" => json_values::j06_bytes(world).await,
        "J07" => json::j07_answers(world).await,
        "J08" => json_values::j08_values(world).await,
        _ => fail("not an item"),
    }
}

async fn exporter(id: &str, world: &World) -> Seen {
    match id {
        "X01" => exporter_connection::x01_in_flight(world).await,
        "X02" => exporter_content::x02_request_size(world).await,
        "X03" => exporter_request::x03_huge_response(world).await,
        "X04" => exporter_retry::x04_codes(world).await,
        "X05" => exporter_retry::x05_exhausted(world).await,
        "X06" => exporter_throttle::x06_retry_delay(world).await,
        "X07" => exporter_throttle::x07_backoff(world).await,
        "X08" => exporter_request::x08_refused(world).await,
        "X09" => exporter_request::x09_partial(world).await,
        "X10" => exporter_retry::x10_statuses(world).await,
        "X11" => exporter_throttle::x11_retry_after(world).await,
        "X12" => exporter_connection::x12_lost(world).await,
        "X13" => exporter_connection::x13_unreachable(world).await,
        "X14" => exporter_connection::x14_kept(world).await,
        "X15" => exporter_content::x15_http1(world).await,
        "X16" => exporter_content::x16_headers(world).await,
        "X17" => exporter_setup::x17_shutdown(world).await,
        "X18" => exporter_request::x18_counted(world).await,
        "X19" => exporter_setup::x19_destinations(world).await,
        "X20" => exporter_content::x20_no_empties(world).await,
        "X21" => exporter_content::x21_user_agent(world).await,
        "X22" => exporter_setup::x22_urls(world).await,
        "X23" => exporter_setup::x23_schemes(world).await,
        "X24" => exporter_connection::x24_in_flight(world).await,
        "X25" => exporter_connection::x25_duplicates(world).await,
        "X26" => exporter_setup::x26_headers(world).await,
        _ => fail("not an item"),
    }
}
