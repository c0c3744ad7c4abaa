//! OTLP/JSON as bodies of peers.

use prost::Message;
use relay_core::json::{JsonError, to_protobuf};
use relay_core::otlp::{RawRequest, Signal};
use testkit::otlp_json::{self, Form};

/// The first byte chooses the signal and a spelling, the rest is a body: an error, or protobuf that prost decodes, takes exactly as many
/// bytes as the smallest limit that lets it pass, and is the same when it is spelled as JSON again.
pub fn json(data: &[u8]) {
    let Some((&choice, body)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(choice % 4)];
    let bytes_max = 64 * data.len();
    let Ok(bytes) = to_protobuf(signal, body, bytes_max) else { return };
    assert_eq!(to_protobuf(signal, body, bytes.len()).as_ref(), Ok(&bytes));
    if let Some(bytes_max) = bytes.len().checked_sub(1) {
        assert_eq!(to_protobuf(signal, body, bytes_max), Err(JsonError::TooLarge { bytes_max }));
    }
    RawRequest::new(bytes.clone()).frame(signal).expect("a request of the relay's own frames");
    let forms = Form::all();
    let form = forms[usize::from(choice / 4) % forms.len()];
    match signal {
        Signal::Logs => same_again(signal, &bytes, form, otlp_json::logs),
        Signal::Metrics => same_again(signal, &bytes, form, otlp_json::metrics),
        Signal::Profiles => same_again(signal, &bytes, form, otlp_json::profiles),
        Signal::Traces => same_again(signal, &bytes, form, otlp_json::traces),
    }
}

fn same_again<M: Message + Default>(
    signal: Signal,
    bytes: &[u8],
    form: Form,
    spell: fn(&M, Form) -> serde_json::Value,
) {
    let request = M::decode(bytes).expect("prost takes what was written");
    let body = spell(&request, form).to_string();
    let again =
        to_protobuf(signal, body.as_bytes(), usize::MAX).expect("what was read can be written and read");
    // Encodings, because NaN is not equal to itself.
    assert_eq!(M::decode(&*again).expect("prost takes it again").encode_to_vec(), request.encode_to_vec());
}
