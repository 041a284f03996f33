//! Visits of a population: each operation is of another client, user or grant, drawn at random, so that caches help as
//! much as they would on that day.

use std::collections::HashMap;
use std::sync::Arc;

use super::client_credentials::ClientCredentials;
use super::code_flow::{CodeFlow, Flow};
use super::refresh::{IdToken, Refresh};
use crate::browser::Pkce;
use crate::failure::{During, Failure};
use crate::load::{Next, Progress, Step};
use crate::population::Population;
use crate::wire::Response;

/// What the code flow asks for.
const SCOPE: &str = "openid profile";

/// Numbers without order, cheaply (SplitMix64); not for secrets.
struct Dice(u64);

impl Dice {
    fn new() -> Result<Self, Failure> {
        let mut octets = [0; 8];
        aws_lc_rs::rand::fill(&mut octets).during("asking for random bytes")?;
        Ok(Self(u64::from_be_bytes(octets)))
    }

    /// A number below `limit`; 0 where that is 0.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(limit).unwrap_or(0)
    }
}

/// The client credentials grant, each time of another client.
pub struct AnyClient {
    host: String,
    people: Arc<Population>,
    dice: Dice,
    current: Option<ClientCredentials>,
}

impl AnyClient {
    /// One connection's clients.
    ///
    /// # Errors
    /// When the system has no chance to give.
    pub fn new(host: &str, people: &Arc<Population>) -> Result<Self, Failure> {
        Ok(Self { host: host.to_owned(), people: people.clone(), dice: Dice::new()?, current: None })
    }
}

impl Step for AnyClient {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        let client = self.people.client(self.dice.below(self.people.size));
        self.current.insert(ClientCredentials::new(&self.host, &client, "ES256")).request(out)
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        answered(self.current.take(), response)
    }

    fn abandon(&mut self) {
        self.current = None;
    }
}

/// The code flow, each time of another user at another client.
pub struct AnyFlow {
    host: String,
    people: Arc<Population>,
    cookie_name: String,
    pairs: Arc<Vec<Pkce>>,
    dice: Dice,
    current: Option<CodeFlow>,
}

impl AnyFlow {
    /// One connection's browsers.
    ///
    /// # Errors
    /// When the system has no chance to give.
    pub fn new(host: &str, people: &Arc<Population>, cookie: &str, pairs: &Arc<Vec<Pkce>>) -> Result<Self, Failure> {
        let (people, pairs, dice) = (people.clone(), pairs.clone(), Dice::new()?);
        Ok(Self { host: host.to_owned(), people, cookie_name: cookie.to_owned(), pairs, dice, current: None })
    }
}

impl Step for AnyFlow {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        if self.current.is_none() {
            let number = self.dice.below(self.people.size);
            let flow = Flow::new(&self.host, &self.people.client(number), SCOPE, "ES256", &self.pairs);
            let cookie = format!("cookie: {}={}\r\n", self.cookie_name, self.people.session_cookie(number));
            let place = self.dice.below(self.pairs.len() as u64);
            self.current = Some(CodeFlow::new(&Arc::new(flow), &cookie, usize::try_from(place).unwrap_or_default()));
        }
        self.current.as_mut().map_or(Next::Finished, |current| current.request(out))
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        let Some(mut current) = self.current.take() else { return nobody() };
        let progress = current.response(response);
        if let Progress::More = progress {
            self.current = Some(current);
        }
        progress
    }

    fn abandon(&mut self) {
        self.current = None;
    }
}

/// Refreshing, each time of another grant of this connection's share.
pub struct AnyGrant {
    host: String,
    people: Arc<Population>,
    /// This connection's grants are those that leave this remainder when divided by `connections`.
    place: u64,
    connections: u64,
    /// The tokens of grants that were refreshed before, by the grant's number.
    rotated: HashMap<u64, String>,
    dice: Dice,
    current: Option<(u64, Refresh)>,
    collected: Option<Vec<String>>,
}

impl AnyGrant {
    /// All connections, each with its share of the grants.
    ///
    /// # Errors
    /// When the system has no chance to give.
    pub fn all(host: &str, people: &Arc<Population>, connections: usize) -> Result<Vec<Self>, Failure> {
        let shares = connections as u64;
        let each = (0..shares).map(|place| {
            Ok(Self {
                host: host.to_owned(),
                people: people.clone(),
                place,
                connections: shares,
                rotated: HashMap::new(),
                dice: Dice::new()?,
                current: None,
                collected: None,
            })
        });
        each.collect()
    }

    /// Keeps the access tokens from here on.
    pub fn collecting(mut self) -> Self {
        self.collected = Some(Vec::new());
        self
    }

    /// Takes the access tokens kept, and keeps no more.
    pub fn take_tokens(&mut self) -> Vec<String> {
        self.collected.take().unwrap_or_default()
    }
}

impl Step for AnyGrant {
    fn request(&mut self, out: &mut Vec<u8>) -> Next {
        let share = self.people.grants.saturating_sub(self.place).div_ceil(self.connections);
        if share == 0 {
            return Next::Finished;
        }
        let grant = self.place + self.dice.below(share) * self.connections;
        let token = self.rotated.get(&grant).cloned().unwrap_or_else(|| self.people.refresh_token(grant));
        let refresh = Refresh::new(&self.host, &self.people.client_of(grant), vec![token], IdToken::Absent);
        let (_, refresh) = self.current.insert((grant, refresh.collecting()));
        refresh.request(out)
    }

    fn response(&mut self, response: &Response<'_>) -> Progress {
        let Some((grant, mut refresh)) = self.current.take() else { return nobody() };
        let progress = refresh.response(response);
        if let Some(successor) = refresh.chains().next() {
            self.rotated.insert(grant, successor.to_owned());
        }
        if let Some(collected) = &mut self.collected {
            collected.extend(refresh.into_tokens());
        }
        progress
    }

    fn abandon(&mut self) {
        // If the lost answer had rotated, the old token gets the same successor within the grace time.
        self.current = None;
    }
}

fn answered(current: Option<impl Step>, response: &Response<'_>) -> Progress {
    current.map_or_else(nobody, |mut current| current.response(response))
}

fn nobody() -> Progress {
    Progress::Failed("an answer without a request".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people() -> Arc<Population> {
        Arc::new(Population::new(3, 8, "https://api.bench.example").unwrap())
    }

    fn sent(step: &mut impl Step) -> String {
        let mut out = Vec::new();
        assert!(matches!(step.request(&mut out), Next::Send));
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_grant_goes_on_with_its_successor_and_stays_in_its_share() {
        let people = people();
        let mut steps = AnyGrant::all("localhost", &people, 8).unwrap();
        let mut step = steps.pop().unwrap().collecting();
        let first = sent(&mut step);
        assert!(first.ends_with(&format!("refresh_token={}", people.refresh_token(7))));
        assert!(first.contains(&people.client(1).basic), "grant 7 is of client 1");
        let body = br#"{"access_token":"a","refresh_token":"next"}"#;
        assert!(matches!(step.response(&Response::of(200, "", body)), Progress::Done));
        assert!(sent(&mut step).ends_with("refresh_token=next"));
        step.abandon();
        assert!(sent(&mut step).ends_with("refresh_token=next"));
        assert_eq!(step.take_tokens(), ["a"]);
    }

    #[test]
    fn visitors_are_drawn_from_all_and_carry_their_own_credentials() {
        let people = people();
        let mut step = AnyClient::new("localhost", &people).unwrap();
        let asked: Vec<String> = (0..200).map(|_| sent(&mut step)).collect();
        for number in 0..3 {
            assert!(asked.iter().any(|request| request.contains(&people.client(number).basic)));
        }
        let pairs = Arc::new(vec![Pkce::new().unwrap()]);
        let mut step = AnyFlow::new("localhost", &people, "sid", &pairs).unwrap();
        let request = sent(&mut step);
        let own = |n: u64| {
            request.contains(&format!("client_id=population-{n}&"))
                && request.contains(&format!("cookie: sid={}\r\n", people.session_cookie(n)))
        };
        assert!((0..3).any(own), "{request}");
        assert!(matches!(step.response(&Response::of(500, "", b"")), Progress::Failed(_)));
    }
}
