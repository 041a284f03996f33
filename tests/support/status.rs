//! Status lists as a resource server reads them.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use keyward_keys::Algorithm;
use serde_json::Value;

use super::TestServer;
use super::server::{Answer, claims};

/// The address and index that a token names; none where it is in no list.
pub fn reference(token: &str) -> Option<(String, usize)> {
    let status = claims(token).get("status")?["status_list"].clone();
    assert_eq!(status.as_object().unwrap().len(), 2, "§6.1: idx and uri");
    Some((status["uri"].as_str().unwrap().to_owned(), status["idx"].as_u64().unwrap().try_into().unwrap()))
}

/// The claims of a signed list, its signature checked.
pub fn verified(server: &TestServer, token: &str) -> Value {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = server.app.key_ring.load().active(Algorithm::Es256).cloned().unwrap();
    key.verify(signed.as_bytes(), &signature).unwrap();
    let header = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    let header: Value = serde_json::from_slice(&header).unwrap();
    assert_eq!((header["typ"].as_str(), header["kid"].as_str()), (Some("statuslist+jwt"), Some(key.kid())));
    claims(token)
}

/// The bits of a list.
pub fn bits(list: &Value) -> Vec<u8> {
    assert_eq!(list["status_list"]["bits"], 1);
    let packed = BASE64_URL_SAFE_NO_PAD.decode(list["status_list"]["lst"].as_str().unwrap()).unwrap();
    let bits = miniz_oxide::inflate::decompress_to_vec_zlib(&packed).unwrap();
    assert_eq!(bits.len(), 16 * 1024, "a list has 2^17 entries whatever is in it");
    bits
}

/// Whether the bit of a token in a list is set, as a resource server would see it that fetches the list now and comes to
/// this node.
pub async fn is_revoked(server: &TestServer, token: &str) -> bool {
    let (uri, index) = reference(token).expect("the token is in a list");
    let path = reqwest::Url::parse(&uri).unwrap().path().to_owned();
    let request = server.http.get(server.endpoint(&path)).header("accept", "application/statuslist+jwt");
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let list = verified(server, &answer.text);
    assert_eq!(list["sub"], uri.as_str());
    bits(&list)[index / 8] >> (index % 8) & 1 == 1
}
