//! What the measured waits say about the share of requests that is let in. Pure: waits and times go in, a share comes out.

use std::time::Duration;

/// An overload, where it lasts: a line of so many, as they are served, and so long at least. Callers who come again as soon
/// as they are answered stand in no longer line than they are many, and are served in turn.
const OVERLOAD: Line = Line { requests: 128, time: Duration::from_millis(50) };
/// While waits are so long it isn't over because hardly anybody was refused.
const LONG: Line = Line { requests: 64, time: Duration::from_millis(20) };
/// How long an overload lasts before anybody is refused.
const STANDS: Duration = Duration::from_millis(500);
/// The wait that is aimed at from then on.
const AIM: Line = Line { requests: 8, time: Duration::from_millis(2) };
/// The share of requests that are let in follows the wait in about this time.
const FOLLOWS: Duration = Duration::from_millis(50);
/// How long hardly anybody must have been refused for the overload to be over, and how long without a measurement.
pub(super) const CALM: Duration = Duration::from_secs(1);
/// After this time all are let in again, to see whether the wait becomes long: at once some are refused again.
const TRIAL: Duration = Duration::from_mins(3);
/// The smallest level, and the smallest share, to which a wait above the aim brings it for a moment: some are always served.
const LEAST_LEVEL: f64 = 1.0 / 64.0;
const LEAST: f64 = 1.0 / 256.0;
/// Hardly anybody is refused from here on.
const NEARLY_ALL: f64 = 0.9;
/// Where so few of those who come could be refused at all, nobody is: it would shorten no line.
const HELPS: f64 = 1.0 / 16.0;
/// A line is shorter than without refusing from here on.
const SHORTER: f64 = 0.75;
/// And becomes shorter from here on.
const SHORTENING: f64 = 0.9;
/// How long all are let in where those who are refused come again at once, which shortens no line: the first time, and the
/// longest. Each time it is twice as long.
const FIRST_PEACE: Duration = Duration::from_mins(1);
const LONGEST_PEACE: Duration = Duration::from_mins(5);
/// This part of it nearly all must have been refused in vain before. Who asks on behalf of others may have a backlog, and
/// comes again at once until it is worked off.
const IN_VAIN: u32 = 20;

/// A wait, in the measure of a machine that serves quickly or slowly.
#[derive(Debug, Clone, Copy)]
struct Line {
    /// Requests in line.
    requests: u32,
    /// And the least that they take.
    time: Duration,
}

impl Line {
    /// How long it is where each request takes so long.
    fn lasts(self, each: Duration) -> Duration {
        self.time.max(each.saturating_mul(self.requests))
    }
}

/// A wait that has ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measured {
    pub(super) wait: Duration,
    /// When it ended, since some beginning.
    pub(super) now: Duration,
    /// Since the one before ended.
    pub(super) passed: Duration,
    /// How long a request took of that time, on average.
    pub(super) each: Duration,
    /// The part of the requests that could have been refused; it is counted while some are.
    pub(super) refusable: f64,
}

impl Measured {
    /// How many requests stood in line.
    fn line(&self) -> f64 {
        self.wait.div_duration_f64(self.each.max(Duration::from_nanos(1)))
    }

    /// Brings a mean of the last while up to this measurement.
    fn carry(&self, mean: f64, value: f64) -> f64 {
        mean + (value - mean) * (self.passed.as_secs_f64() / STANDS.as_secs_f64()).min(1.0)
    }
}

/// What the waits say about the share.
#[derive(Debug, Clone, Copy)]
pub(super) enum Control {
    /// All are let in.
    Open {
        /// Since when each wait was long, and how many stood in line as of late.
        long_since: Option<(Duration, f64)>,
    },
    /// A share is.
    Limiting(Limiting),
    /// All are, since refusing was in vain.
    Bearing(Bearing),
}

/// All are let in, and what would change that.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bearing {
    /// When it is tried again, where the wait is still long.
    until: Duration,
    /// How long all are let in the next time.
    peace: Duration,
    /// How many stood in line at first.
    at_first: f64,
    /// And as of late.
    line: f64,
    /// The wait as of late, in seconds.
    wait: f64,
}

/// A share is let in, and what it goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limiting {
    /// What keeps the wait where it is aimed at, as far as is known.
    level: f64,
    /// The part of the requests that could be refused, as of late.
    refusable: f64,
    /// Since the last trial.
    since: Duration,
    /// Since when all are let in for a trial.
    trial_since: Option<Duration>,
    /// Since when hardly anybody was refused.
    calm_since: Option<Duration>,
    /// How many requests stood in line when all were let in, at the least.
    unhindered: f64,
    /// How many do as of late, and how many times the aim the wait is.
    line: f64,
    excess: f64,
    /// Since when nearly all were refused and nearly as many stood in line, and how many.
    vain_since: Option<(Duration, f64)>,
    /// How long all are let in where that lasts.
    peace: Duration,
}

impl Control {
    pub(super) const fn new() -> Self {
        Self::Open { long_since: None }
    }

    pub(super) const fn is_limiting(&self) -> bool {
        matches!(self, Self::Limiting(_))
    }

    /// Whether all are let in because refusing was in vain.
    pub(super) const fn is_bearing(&self) -> bool {
        matches!(self, Self::Bearing(_))
    }

    /// The share, 0 to 1, from now on.
    pub(super) fn follow(&mut self, mut measured: Measured) -> f64 {
        let Measured { wait, now, passed, each, .. } = measured;
        let is_overload = wait >= OVERLOAD.lasts(each);
        // Where nothing was measured for long before this message was sent, nobody knows what the wait was.
        let is_known = passed.saturating_sub(wait) < CALM;
        let begun = match self {
            Self::Open { long_since } => {
                let (since, line) = long_since.filter(|_| is_known).unwrap_or((now, measured.line()));
                let line = measured.carry(line, measured.line());
                *long_since = is_overload.then_some((since, line));
                if !is_overload || now.saturating_sub(since) < STANDS {
                    return 1.0;
                }
                Some(Limiting::begun(now, line, FIRST_PEACE))
            }
            Self::Bearing(bearing) => match bearing.follow(&measured) {
                Peace::Lasts if is_known => return 1.0,
                Peace::Lasts | Peace::Over => {
                    *self = Self::new();
                    return 1.0;
                }
                Peace::Ends => Some(Limiting::begun(now, bearing.line, bearing.peace)),
            },
            Self::Limiting(_) => None,
        };
        if let Some(begun) = begun {
            // Nobody has counted yet.
            measured.refusable = begun.refusable;
            *self = Self::Limiting(begun);
        }
        let Self::Limiting(limiting) = self else { return 1.0 };
        match limiting.follow(measured) {
            Verdict::LetIn(share) => share,
            Verdict::Over => {
                *self = Self::new();
                1.0
            }
            Verdict::InVain => {
                *self = Self::Bearing(Bearing::begun(now, limiting, &measured));
                1.0
            }
        }
    }
}

/// What a wait says while all are let in.
enum Peace {
    /// Nothing new.
    Lasts,
    /// It is tried again whether refusing helps.
    Ends,
    /// No wait is long any more.
    Over,
}

impl Bearing {
    /// From now on, after refusing in vain.
    fn begun(now: Duration, limiting: &Limiting, measured: &Measured) -> Self {
        Self {
            until: now + limiting.peace,
            peace: (2 * limiting.peace).min(LONGEST_PEACE),
            at_first: limiting.line,
            line: limiting.line,
            wait: OVERLOAD.lasts(measured.each).as_secs_f64(),
        }
    }

    fn follow(&mut self, measured: &Measured) -> Peace {
        self.line = measured.carry(self.line, measured.line());
        self.wait = measured.carry(self.wait, measured.wait.as_secs_f64());
        let long = OVERLOAD.lasts(measured.each).as_secs_f64();
        // Others have come, who may be helped by refusing.
        let is_longer = self.line > 2.0 * self.at_first;
        if is_longer || measured.now >= self.until && self.wait >= long {
            return Peace::Ends;
        }
        // A wait that is a little shorter than an overload's would soon be one again, and refused in vain.
        match measured.now >= self.until || self.wait < long / 2.0 {
            true => Peace::Over,
            false => Peace::Lasts,
        }
    }
}

/// What a wait says under overload.
enum Verdict {
    /// This share, 0 to 1, is let in.
    LetIn(f64),
    /// The overload is over.
    Over,
    /// Refusing doesn't shorten the line.
    InVain,
}

impl Limiting {
    /// From now on, where so many stood in line while all were let in; where it is in vain, they are again for so long.
    const fn begun(now: Duration, line: f64, peace: Duration) -> Self {
        Self {
            level: 1.0,
            refusable: 1.0,
            since: now,
            trial_since: None,
            calm_since: None,
            unhindered: line,
            line,
            excess: 0.0,
            vain_since: None,
            peace,
        }
    }

    fn follow(&mut self, measured: Measured) -> Verdict {
        let Measured { wait, now, passed, each, refusable } = measured;
        let is_long = wait >= LONG.lasts(each);
        if let Some(since) = self.trial_since {
            let overload = OVERLOAD.lasts(each);
            if wait >= overload {
                (self.trial_since, self.since) = (None, now);
                self.unhindered = self.unhindered.min(measured.line());
            } else if now.saturating_sub(since) < STANDS.max(2 * overload) {
                return Verdict::LetIn(1.0);
            } else {
                return Verdict::Over;
            }
        }
        let excess = wait.as_secs_f64() / AIM.lasts(each).as_secs_f64();
        self.refusable = measured.carry(self.refusable, refusable);
        self.line = measured.carry(self.line, measured.line());
        self.excess = measured.carry(self.excess, excess);
        // The level follows slowly, by a factor, for nobody knows its order of magnitude; a wait above the aim is answered at
        // once besides, so that the line shrinks without the level having to swing.
        let time = passed.as_secs_f64() / FOLLOWS.as_secs_f64();
        let step = if excess < 1.0 { (1.0 - excess) * time } else { (1.0 - excess).max(-1.0) * time.min(1.0) };
        // Where hardly anybody who comes could be refused, refusing doesn't help.
        let helps = self.refusable >= HELPS;
        self.level = if helps { (self.level * step.exp()).clamp(LEAST_LEVEL, 1.0) } else { 1.0 };
        if is_long || self.level < NEARLY_ALL {
            self.calm_since = None;
        } else if now.saturating_sub(*self.calm_since.get_or_insert(now)) >= CALM {
            return Verdict::Over;
        }
        if self.is_in_vain(now) {
            return Verdict::InVain;
        }
        if now.saturating_sub(self.since) >= TRIAL {
            (self.trial_since, self.vain_since) = (Some(now), None);
            return Verdict::LetIn(1.0);
        }
        Verdict::LetIn(if helps { (self.level / excess.max(1.0).powi(2)).max(LEAST) } else { 1.0 })
    }

    /// Whether nearly all have been refused for a while, the wait is still above the aim, and the line becomes no shorter.
    fn is_in_vain(&mut self, now: Duration) -> bool {
        let helps = self.level > 2.0 * LEAST_LEVEL || self.excess < 1.0 || self.line < self.unhindered * SHORTER;
        let begun = self.vain_since.filter(|&(_, line)| self.line >= line * SHORTENING).unwrap_or((now, self.line));
        self.vain_since = (!helps).then_some(begun);
        !helps && now.saturating_sub(begun.0) >= self.peace / IN_VAIN
    }
}

#[cfg(test)]
mod tests {
    use super::super::STRIDE;
    use super::*;

    /// A server that takes so many microseconds for a request that is let in and so many for a refusal, while they come at
    /// random.
    struct Server {
        served_micros: f64,
        refused_micros: f64,
        /// The part that could be refused.
        refusable: f64,
        control: Control,
        share: f64,
        /// Work that waits, and the time, in microseconds.
        line: f64,
        now: f64,
        /// When the message to oneself was sent, and when it comes back.
        message: Option<(f64, f64)>,
        measured: f64,
        unmeasured: f64,
        /// The part of the line that a message may pass over.
        noise: f64,
        chance: u64,
    }

    #[derive(Debug, Default)]
    struct Outcome {
        served: f64,
        refused: f64,
        /// The longest wait in the second half of the time, in microseconds.
        wait: f64,
    }

    impl Server {
        fn new(served_micros: f64, refused_micros: f64) -> Self {
            Self {
                served_micros,
                refused_micros,
                refusable: 1.0,
                control: Control::new(),
                share: 1.0,
                line: 0.0,
                now: 0.0,
                message: None,
                measured: 0.0,
                unmeasured: 0.0,
                noise: 0.0,
                chance: 7,
            }
        }

        /// Between 0 and 1.
        fn chance(&mut self) -> f64 {
            self.chance = self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((self.chance >> 33) as f64 + 0.5) / f64::from(1_u32 << 31)
        }

        fn take_back(&mut self, sent: f64, back: f64) {
            let passed = Duration::from_micros((back - self.measured) as u64);
            self.share = self.control.follow(Measured {
                wait: Duration::from_micros((back - sent) as u64),
                now: Duration::from_micros(back as u64),
                passed,
                each: passed.div_f64(self.unmeasured),
                refusable: self.refusable,
            });
            (self.message, self.measured, self.unmeasured) = (None, back, 0.0);
        }

        /// So many a second, for so many seconds.
        fn offer(&mut self, rate: f64, seconds: f64) -> Outcome {
            let mut outcome = Outcome::default();
            let begin = self.now;
            while self.now < begin + seconds * 1e6 {
                let gap = -self.chance().ln() / rate * 1e6;
                self.now += gap;
                self.line = (self.line - gap).max(0.0);
                if self.now > begin + seconds * 5e5 {
                    outcome.wait = outcome.wait.max(self.line);
                }
                if self.chance() > self.share && self.chance() < self.refusable {
                    outcome.refused += 1.0;
                    self.line += self.refused_micros;
                } else {
                    outcome.served += 1.0;
                    self.line += self.served_micros;
                }
                self.unmeasured += 1.0;
                match self.message {
                    None if self.unmeasured >= f64::from(STRIDE) => {
                        self.message = Some((self.now, self.now + self.line))
                    }
                    Some((sent, back)) if self.now >= back => self.take_back(sent, back),
                    _ => {}
                }
            }
            outcome
        }
    }

    #[test]
    fn what_can_be_served_is_never_refused() {
        for (served, rate) in [(125.0, 7_200.0), (7_000.0, 128.0), (30.0, 30_000.0)] {
            let outcome = Server::new(served, 20.0).offer(rate, 20.0);
            assert_eq!(outcome.refused, 0.0, "{served} µs each, {rate} a second");
        }
    }

    #[test]
    fn a_burst_is_let_in_whole() {
        let mut server = Server::new(125.0, 20.0);
        for _ in 0..3 {
            assert_eq!(server.offer(30_000.0, 0.1).refused, 0.0);
            assert!(server.line > 200_000.0);
            assert_eq!(server.offer(2_000.0, 2.0).refused, 0.0);
        }
    }

    #[test]
    fn under_overload_the_wait_is_short_and_much_is_served() {
        for (served, refused, rate) in [(125.0, 19.0, 32_000.0), (125.0, 19.0, 10_000.0), (7_000.0, 100.0, 570.0)] {
            let mut server = Server::new(served, refused);
            // The line of the beginning, in which everybody waits, is gone by then.
            server.offer(rate, 30.0);
            let outcome = server.offer(rate, 20.0);
            // What is aimed at is a line of 8, or 2 ms.
            let most = f64::max(20_000.0, 128.0 * served);
            assert!(outcome.wait < most, "{served} µs: {outcome:?}");
            let possible = 20.0 * (1e6 - rate * refused) / (served - refused);
            assert!(outcome.served > 0.7 * possible, "{served} µs: {outcome:?} of {possible}");
        }
    }

    #[test]
    fn it_ends_when_the_overload_has() {
        for (served, rate) in [(125.0, 6_800.0), (7_000.0, 115.0), (125.0, 100.0)] {
            let mut server = Server::new(served, 20.0);
            assert!(server.offer(4e6 / served, 10.0).refused > 0.0);
            assert!(server.control.is_limiting());
            server.offer(rate, 20.0);
            assert!(!server.control.is_limiting(), "{served} µs each, {rate} a second");
            assert_eq!(server.offer(rate, 10.0).refused, 0.0);
        }
    }

    #[test]
    fn minutes_later_it_is_tried_whether_it_lasts() {
        let mut server = Server::new(125.0, 19.0);
        server.offer(32_000.0, 10.0);
        let outcome = server.offer(32_000.0, 400.0);
        assert!(server.control.is_limiting());
        let most = 400.0 * (1e6 - 32_000.0 * 19.0) / 106.0;
        assert!(outcome.served < 1.02 * most, "trials end with the first long wait: {outcome:?} of {most}");
        // As many as come in such a wait, before and while it is measured.
        assert!(outcome.wait < 500_000.0, "{outcome:?}");
        // A wait that is long for the aim and short for an overload: after the trial it is over.
        let (passed, each) = (Duration::from_millis(4), Duration::from_micros(125));
        let at = |wait, millis| Measured {
            wait: Duration::from_millis(wait),
            now: Duration::from_mins(10) + Duration::from_millis(millis),
            passed,
            each,
            refusable: 1.0,
        };
        let begun = || {
            let limiting = Limiting::begun(Duration::from_mins(5), 1_000.0, FIRST_PEACE);
            Control::Limiting(Limiting { level: 0.5, ..limiting })
        };
        let mut control = begun();
        assert_eq!((control.follow(at(10, 0)), control.follow(at(10, 400))), (1.0, 1.0));
        assert!(control.is_limiting(), "the trial lasts");
        control.follow(at(10, 500));
        assert!(!control.is_limiting());
        // A long one ends the trial, and the level is what it was.
        let mut control = begun();
        assert_eq!((control.follow(at(10, 0)), control.follow(at(30, 8))), (1.0, 1.0));
        assert!(control.follow(at(50, 30)) < 0.1);
        assert!(control.follow(at(2, 90)) < 0.6);
    }

    /// So many callers, each of whom comes again as soon as it is answered, for so many seconds; `(served, refused)`.
    fn callers_who_come_again_at_once(server: &mut Server, callers: u32, seconds: f64) -> (f64, f64) {
        let noise = server.noise;
        let (mut served, mut refused) = (0.0, 0.0);
        let end = server.now + seconds * 1e6;
        // A message stands behind all of them, or behind some of them where others are late.
        let mut sent = (server.now, callers);
        while server.now < end {
            if server.chance() > server.share {
                refused += 1.0;
                server.now += server.refused_micros;
            } else {
                served += 1.0;
                server.now += server.served_micros;
            }
            server.unmeasured += 1.0;
            match &mut sent {
                (at, 0) => {
                    let at = *at;
                    server.take_back(at, server.now);
                    sent = (server.now, (f64::from(callers) * (1.0 - noise * server.chance())) as u32);
                }
                (_, before) => *before -= 1,
            }
        }
        (served, refused)
    }

    #[test]
    fn callers_who_come_again_at_once_are_served_in_turn() {
        for (each, callers) in [(125.0, 128), (125.0, 380), (90.0, 500), (2_000.0, 120), (30.0, 1_600)] {
            let (served, refused) = callers_who_come_again_at_once(&mut Server::new(each, 20.0), callers, 20.0);
            assert_eq!(refused, 0.0, "{callers} callers, {each} µs each, {served} served");
        }
    }

    #[test]
    fn refusing_ends_where_it_shortens_no_line() {
        for (each, callers, noise) in
            [(125.0, 420, 0.0), (125.0, 1_000, 0.0), (125.0, 1_500, 0.5), (125.0, 10_000, 0.2), (2_000.0, 400, 0.0)]
        {
            let mut server = Server { noise, ..Server::new(each, 20.0) };
            let (_, refused) = callers_who_come_again_at_once(&mut server, callers, 20.0);
            assert!(refused > 0.0 && !server.control.is_limiting(), "{callers} callers, {each} µs each");
            // It is tried again, each time after twice as long.
            for minutes in [1, 2, 4, 5, 5] {
                let Control::Bearing(Bearing { until, peace, .. }) = server.control else { panic!("it is borne") };
                assert_eq!(peace, Duration::from_mins(minutes * 2).min(LONGEST_PEACE));
                let rest = until.as_secs_f64() - server.now / 1e6;
                callers_who_come_again_at_once(&mut server, callers, rest + 2.5);
                assert!(server.control.is_limiting(), "{callers} callers, {each} µs each: after {minutes} minutes");
                callers_who_come_again_at_once(&mut server, callers, 25.0);
            }
            let possible = 3_600.0 * 1e6 / each;
            let (served, _) = callers_who_come_again_at_once(&mut server, callers, 3_600.0);
            assert!(served > 0.93 * possible, "{callers} callers, {each} µs each: {served} of {possible}");
        }
    }

    #[test]
    fn who_comes_while_it_is_borne_may_be_refused() {
        let mut server = Server::new(125.0, 20.0);
        callers_who_come_again_at_once(&mut server, 1_000, 20.0);
        assert!(server.control.is_bearing());
        server.offer(32_000.0, 2.0);
        assert!(server.control.is_limiting());
        server.offer(32_000.0, 10.0);
        assert!(server.offer(32_000.0, 5.0).wait < 20_000.0);
    }

    #[test]
    fn who_would_not_have_begun_it_is_soon_let_in() {
        for (each, refused, crowd, callers) in [
            (125.0, 20.0, 1_000, 130),
            (125.0, 20.0, 1_000, 390),
            (245.0, 10.0, 1_000, 200),
            (500.0, 20.0, 400, 100),
            (2_000.0, 50.0, 300, 100),
        ] {
            let mut server = Server::new(each, refused);
            callers_who_come_again_at_once(&mut server, crowd, 2.5);
            assert!(server.control.is_limiting(), "{crowd} callers, {each} µs each");
            callers_who_come_again_at_once(&mut server, callers, 200.0);
            let (_, refused) = callers_who_come_again_at_once(&mut server, callers, 20.0);
            assert_eq!(refused, 0.0, "{callers} callers, {each} µs each");
        }
    }

    #[test]
    fn who_bears_an_overload_goes_back_to_rest() {
        let mut server = Server::new(125.0, 20.0);
        callers_who_come_again_at_once(&mut server, 1_000, 30.0);
        assert!(server.control.is_bearing());
        callers_who_come_again_at_once(&mut server, 100, 3.0);
        assert!(matches!(server.control, Control::Open { .. }));
        // What could be refused to some purpose is, as at first.
        server.offer(32_000.0, 15.0);
        assert!(server.offer(32_000.0, 5.0).wait < 20_000.0);
    }

    #[test]
    fn refusing_that_shortens_the_line_goes_on() {
        // Refusals alone take nearly all of the time at first, and the line becomes shorter slowly.
        let mut server = Server::new(125.0, 20.0);
        server.offer(42_000.0, 40.0);
        assert!(server.control.is_limiting());
        assert!(server.offer(42_000.0, 10.0).wait < 30_000.0);
    }

    #[test]
    fn two_bursts_with_quiet_between_are_no_overload() {
        let mut control = Control::new();
        let (wait, each) = (Duration::from_millis(100), Duration::from_micros(125));
        for second in 1..5 {
            let now = Duration::from_secs(2 * second);
            control.follow(Measured { wait, now, passed: Duration::from_secs(2), each, refusable: 0.0 });
            assert!(!control.is_limiting());
        }
    }

    #[test]
    fn nobody_is_refused_for_a_flood_of_what_cant_be() {
        let mut server = Server::new(30.0, 20.0);
        server.refusable = 0.02;
        server.offer(60_000.0, 5.0);
        assert!(server.control.is_limiting());
        assert_eq!(server.offer(60_000.0, 5.0).refused, 0.0);
        assert_eq!(server.offer(1_000.0, 400.0).refused, 0.0);
        assert!(!server.control.is_limiting());
    }
}
