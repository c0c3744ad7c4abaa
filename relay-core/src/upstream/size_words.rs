//! What servers say of a message that is too large for them, and which limit they name. Reads words that are meant for people, so it
//! must never be sure: whoever asks falls back to halves.

/// What stands before the limit, in small letters. The first that a text has decides.
const BEFORE_LIMIT: [&str; 9] = [
    // grpc-go, gRPC C++ and Python: "received message larger than max (5 vs. 4)"; grpc-js writes "vs" without the dot.
    " vs. ",
    " vs ",
    // grpc-go: "received message after decompression larger than max 4".
    "larger than max ",
    // tonic: "decoded message length too large: found 5 bytes, the limit is: 4 bytes".
    "the limit is: ",
    // grpc-java: "gRPC message exceeds maximum size 4: 5".
    "exceeds maximum size ",
    // relayd: "message of 5 bytes is larger than the receiver's limit of 4 bytes".
    "limit of ",
    // Proxies and vendors.
    "maximum allowed size is ",
    "maximum size is ",
    "max allowed size: ",
];

/// What names a size, with a limit or without, in small letters.
const NAMES_SIZE: [&str; 7] = [
    "larger than max",
    "too large",
    "larger than the receiver's limit",
    "exceeds maximum size",
    // grpc-dotnet: "Received message exceeds the maximum configured message size."
    "exceeds the maximum configured message size",
    "maximum allowed size",
    "message size exceeds",
];

/// Whether `words` are about the size of a message.
pub(super) fn names_size(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    NAMES_SIZE.iter().any(|phrase| words.contains(phrase))
}

/// The limit in bytes that `words` about a size name.
pub(super) fn size_limit(words: &str) -> Option<usize> {
    if !names_size(words) {
        return None;
    }
    let words = words.to_ascii_lowercase();
    let named = BEFORE_LIMIT.iter().find_map(|before| number(words.split_once(before)?.1))?;
    (named > 0).then_some(named)
}

fn number(text: &str) -> Option<usize> {
    let digits = text.split(|char: char| !char.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words of real servers, as their sources have them.
    #[test]
    fn limits_are_read() {
        for words in [
            "grpc: received message larger than max (5242880 vs. 4194304)",
            "grpc: message after decompression larger than max (5242880 vs. 4194304)",
            "grpc: received message after decompression larger than max 4194304",
            "Received message larger than max (5242880 vs. 4194304)",
            "SERVER: Received message larger than max (5242880 vs. 4194304)",
            "Received message larger than max (5242880 vs 4194304)",
            "Error, decoded message length too large: found 5242880 bytes, the limit is: 4194304 bytes",
            "gRPC message exceeds maximum size 4194304: 5242880",
            "Decompressed gRPC message exceeds maximum size 4194304",
            "message of 5242880 bytes is larger than the receiver's limit of 4194304 bytes",
        ] {
            assert_eq!(size_limit(words), Some(4_194_304), "{words}");
        }
    }

    #[test]
    fn words_without_a_limit_name_none() {
        for words in [
            "http: request body too large",
            "<html> <head><title>413 Request Entity Too Large</title></head> <center>nginx/1.27.0</center> </html>",
            "Payload Too Large",
            "Received message exceeds the maximum configured message size.",
        ] {
            assert!(names_size(words), "{words}");
            assert_eq!(size_limit(words), None, "{words}");
        }
        for words in
            ["", "data refused due to high memory usage", "rate limit of 100 requests exceeded", "5 vs. 4"]
        {
            assert!(!names_size(words) && size_limit(words).is_none(), "{words}");
        }
        assert_eq!(size_limit("larger than max (1 vs. 99999999999999999999999)"), None, "no usize");
    }
}
