//! Budgets: what may be spent, by currency.

use std::collections::BTreeMap;
use std::sync::Arc;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::{Code, Fault};

/// Digits before the point, and behind it. Sums within them are exact: a decimal holds 28.
const WHOLE_DIGITS_MAX: usize = 12;
const FRACTION_DIGITS_MAX: usize = 16;
/// Longest currency, in bytes.
const CURRENCY_BYTES_MAX: usize = 32;
/// Longest number, in bytes: what a float prints is less than half of it.
const NUMBER_BYTES_MAX: usize = 64;
/// No counter is further from zero than this.
const MOST: Decimal = Decimal::from_parts(0xD4A5_1000, 0xE8, 0, false, 0);

/// What is left, by currency. Decimals, never floats.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    left: BTreeMap<Arc<str>, Decimal>,
}

impl Budget {
    /// Of amounts such as `USD:5.00`; those of one currency are added up.
    ///
    /// # Errors
    /// `INVALID_REQUEST`, with the place among them: one is no amount, or it is too much.
    pub(super) fn of(amounts: &[Arc<str>]) -> Result<Self, (usize, Fault)> {
        let mut budget = Self::default();
        for (at, text) in amounts.iter().enumerate() {
            let (currency, amount) = amount(text).ok_or_else(|| {
                (at, Fault::invalid("an amount is currency:decimal, as USD:5.00, with at most 12 and 16 digits"))
            })?;
            let sum = budget.left.entry(currency.into()).or_default();
            *sum = sum.checked_add(amount).filter(|sum| *sum < MOST).ok_or((at, Fault::invalid("it is too much")))?;
        }
        Ok(budget)
    }

    /// Takes off what a metric says was spent: `value` is the number's text in JSON, which is never read as a float. Digits beyond the
    /// sixteenth behind the point are rounded up, so that never less is taken than was spent; a counter may get negative.
    /// What is left of that currency; `None` if it is not budgeted.
    ///
    /// # Errors
    /// `INVALID_REQUEST`: it is no number, or negative. Nothing is taken off.
    pub fn spend(&mut self, unit: &str, value: &str) -> Result<Option<Decimal>, Fault> {
        let value = number(value)?;
        let Some(left) = self.left.get_mut(unit) else { return Ok(None) };
        *left = left.checked_sub(value).filter(|left| *left >= -MOST).unwrap_or(-MOST);
        Ok(Some(*left))
    }

    /// Whether anything may be done.
    ///
    /// # Errors
    /// `BUDGET_EXHAUSTED`: nothing is left of one of them.
    pub fn check(&self) -> Result<(), Fault> {
        match self.left.iter().find(|(_, left)| **left <= Decimal::ZERO) {
            None => Ok(()),
            Some((currency, left)) => {
                let message = format!("the budget of {currency} is exhausted: {left} is left");
                Err(Fault::new(Code::BudgetExhausted, message))
            }
        }
    }

    /// Takes a child's budget off, all of it or nothing.
    ///
    /// # Errors
    /// `LEASE_SUBSET_VIOLATION`: it has more than is left here, or a currency that this one lacks.
    pub fn reserve(&mut self, child: &Self) -> Result<(), Fault> {
        let violation = |message: String| Fault::new(Code::LeaseSubsetViolation, message);
        for (currency, amount) in &child.left {
            match self.left.get(currency) {
                None => return Err(violation(format!("lease.cost.budget: the parent has no budget of {currency}"))),
                Some(left) if amount > left => {
                    return Err(violation(format!("lease.cost.budget: {left} {currency} are left, not {amount}")));
                }
                Some(_) => {}
            }
        }
        for (currency, amount) in &child.left {
            if let Some(left) = self.left.get_mut(currency) {
                *left = left.checked_sub(*amount).unwrap_or(-MOST);
            }
        }
        Ok(())
    }

    /// Puts back what a child has left of what was reserved for it; nothing where it spent more. Once a child.
    pub fn give_back(&mut self, child: &Self) {
        for (currency, amount) in child.left.iter().filter(|(_, amount)| **amount > Decimal::ZERO) {
            if let Some(left) = self.left.get_mut(currency) {
                *left = left.checked_add(*amount).unwrap_or(*left).min(MOST);
            }
        }
    }

    /// What is left, by currency, with the digits to show.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Decimal)> {
        self.left.iter()
    }
}

/// `currency:decimal`: the currency `[A-Za-z][A-Za-z0-9_-]*`, the decimal `digits` or `digits.digits`.
fn amount(text: &str) -> Option<(&str, Decimal)> {
    let (currency, decimal) = text.split_once(':')?;
    let is_currency = currency.len() <= CURRENCY_BYTES_MAX
        && currency.starts_with(|c: char| c.is_ascii_alphabetic())
        && currency.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    let (whole, fraction) = decimal.split_once('.').unwrap_or((decimal, "0"));
    let within = decimal.len() <= NUMBER_BYTES_MAX
        && whole.trim_start_matches('0').len() <= WHOLE_DIGITS_MAX
        && fraction.len() <= FRACTION_DIGITS_MAX;
    if !is_currency || !within || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    Some((currency, Decimal::from_str_exact(decimal).ok()?))
}

/// A number of JSON that is not negative.
fn number(text: &str) -> Result<Decimal, Fault> {
    let invalid = || Fault::invalid("value: a number that is not negative");
    let (is_negative, unsigned) = text.strip_prefix('-').map_or((false, text), |unsigned| (true, unsigned));
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent_digits = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_number = is_digits(whole) && is_digits(fraction) && is_digits(exponent_digits);
    if text.len() > NUMBER_BYTES_MAX || !is_number {
        return Err(invalid());
    }
    let digits = [whole, fraction].concat();
    let significant = digits.trim_end_matches('0');
    if significant.trim_start_matches('0').is_empty() {
        return Ok(Decimal::ZERO);
    }
    if is_negative {
        return Err(invalid());
    }
    // The value is `significant` as a whole number, with the point moved left by `scale`. An exponent beyond i32 is as good as the
    // largest.
    let exponent = exponent.parse::<i32>().unwrap_or(if exponent.starts_with('-') { i32::MIN } else { i32::MAX });
    let dropped = digits.len() - significant.len();
    let scale = i64::try_from(fraction.len()).unwrap_or(0) - i64::try_from(dropped).unwrap_or(0) - i64::from(exponent);
    let significant = significant.trim_start_matches('0');
    let length = i64::try_from(significant.len()).unwrap_or(i64::MAX);
    if length - scale > WHOLE_DIGITS_MAX as i64 {
        // More than any budget has: that too is spent.
        return Ok(MOST);
    }
    let too_fine = (scale - FRACTION_DIGITS_MAX as i64).max(0);
    let kept = usize::try_from(length - too_fine).unwrap_or(0);
    let zeros = usize::try_from(-scale).unwrap_or(0);
    let kept = format!("0{}{}", &significant[..kept], "0".repeat(zeros));
    let rounded = kept.parse::<i128>().map_err(|_| invalid())? + i128::from(too_fine > 0);
    let scale = u32::try_from((scale - too_fine).max(0)).map_err(|_| invalid())?;
    Decimal::try_from_i128_with_scale(rounded, scale).map(|value| value.normalize()).map_err(|_| invalid())
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn budget(amounts: &[&str]) -> Budget {
        let amounts: Vec<Arc<str>> = amounts.iter().map(|amount| (*amount).into()).collect();
        Budget::of(&amounts).unwrap()
    }

    fn left(budget: &Budget) -> Vec<String> {
        budget.iter().map(|(currency, left)| format!("{currency}:{left}")).collect()
    }

    #[test]
    fn amounts_keep_their_digits() {
        let mut own = budget(&["USD:5.00", "credits:1000", "EUR:0.5", "EUR:0.25", "JPY:007"]);
        assert_eq!(left(&own), ["EUR:0.75", "JPY:7", "USD:5.00", "credits:1000"]);
        assert_eq!(own.spend("USD", "0.30").unwrap().unwrap().to_string(), "4.70");
        assert_eq!(own.spend("USD", "2.34e-2").unwrap().unwrap().to_string(), "4.6766");
        assert_eq!(own.spend("GBP", "1"), Ok(None));
        assert_eq!(MOST.to_string(), "1000000000000");
        let bad = [
            "",
            "USD",
            "USD:",
            ":1",
            "USD:.5",
            "USD:5.",
            "USD:-1",
            "USD:+1",
            "USD:1e3",
            "USD: 1",
            "1USD:1",
            "U SD:1",
            "USD:1:2",
            "USD:1_0",
            "USD:1234567890123",
            "USD:0.12345678901234567",
            "USD:NaN",
            "USD:١",
        ];
        for bad in bad {
            assert_eq!(Budget::of(&["USD:1".into(), bad.into()]).unwrap_err().0, 1, "{bad}");
        }
        assert!(Budget::of(&["A:999999999999".into(), "A:1".into()]).is_err(), "a sum has bounds too");
    }

    #[test]
    fn numbers_of_json_are_read_without_floats() {
        for (text, value) in [
            ("0", "0"),
            ("-0.0", "0"),
            ("0e9", "0"),
            ("1", "1"),
            ("1.50", "1.5"),
            ("12e1", "120"),
            ("1E+2", "100"),
            ("2.5e-3", "0.0025"),
            ("0.1", "0.1"),
            ("999999999999", "999999999999"),
            ("0.00000000000000001", "0.0000000000000001"),
            ("1e-400", "0.0000000000000001"),
            ("1e-99999999999", "0.0000000000000001"),
            ("0.30000000000000004", "0.3000000000000001"),
            ("0.00018509999999999998", "0.0001851"),
            ("0.00001e14", "1000000000"),
        ] {
            assert_eq!(number(text).map(|number| number.to_string()), Ok(value.to_owned()), "{text}");
        }
        for bad in ["", "-1", "-1e-30", "x", "1.", ".5", "1e", "\"1\"", "null", "1 "] {
            assert_eq!(number(bad).unwrap_err().code, Code::InvalidRequest, "{bad}");
        }
        for much in ["1e12", "1e999999999999", "1234567890123"] {
            assert_eq!(number(much), Ok(MOST), "{much}");
        }
        assert!(number(&format!("0.{}", "1".repeat(64))).is_err());
    }

    #[test]
    fn a_cost_beyond_all_measure_leaves_nothing() {
        let mut own = budget(&["USD:0.3"]);
        assert!(own.spend("USD", "1e30").unwrap().unwrap() < Decimal::ZERO);
        assert_eq!(own.check().unwrap_err().code, Code::BudgetExhausted);
    }

    #[test]
    fn an_empty_counter_stops_all() {
        let mut own = budget(&["USD:1.00", "EUR:1"]);
        assert!(own.check().is_ok());
        assert_eq!(own.spend("USD", "-0.5").unwrap_err().code, Code::InvalidRequest);
        own.spend("USD", "1").unwrap();
        assert_eq!(own.check().unwrap_err().code, Code::BudgetExhausted);
        for _ in 0..3 {
            own.spend("USD", "999999999999").unwrap();
        }
        assert_eq!(left(&own), ["EUR:1", "USD:-1000000000000"]);
    }

    #[test]
    fn two_children_do_not_get_the_same_money() {
        let mut own = budget(&["USD:5.00", "EUR:1"]);
        let child = budget(&["USD:3.00"]);
        own.reserve(&child).unwrap();
        assert_eq!(own.reserve(&child).unwrap_err().code, Code::LeaseSubsetViolation);
        assert_eq!(own.reserve(&budget(&["EUR:1", "GBP:0"])).unwrap_err().code, Code::LeaseSubsetViolation);
        assert_eq!(left(&own), ["EUR:1", "USD:2.00"], "all or nothing");
        let mut spent = child.clone();
        spent.spend("USD", "2.5").unwrap();
        own.give_back(&spent);
        assert_eq!(left(&own), ["EUR:1", "USD:2.50"]);
        spent.spend("USD", "1").unwrap();
        own.give_back(&spent);
        assert_eq!(left(&own), ["EUR:1", "USD:2.50"], "more was spent than reserved");
    }

    #[derive(Debug, Clone)]
    enum Step {
        Spend(usize, u64, u32),
        Child(usize, u64, u32),
        End,
    }

    proptest! {
        /// What all have and what was spent is never more than there was at first; without overspending it is exactly that.
        #[test]
        fn money_is_never_made(steps in prop::collection::vec(prop_oneof![
            (0usize..4, 0u64..2_000_000, 0u32..10).prop_map(|(who, value, scale)| Step::Spend(who, value, scale)),
            (0usize..4, 0u64..2_000_000, 0u32..6).prop_map(|(who, value, scale)| Step::Child(who, value, scale)),
            Just(Step::End),
        ], 0..40)) {
            let first = Decimal::from(1_000_000);
            let of = |budget: &Budget| budget.left["USD"];
            let mut living = vec![(budget(&["USD:1000000"]), None::<usize>)];
            let (mut spent, mut written_off) = (Decimal::ZERO, Decimal::ZERO);
            for step in steps {
                match step {
                    Step::Spend(who, value, scale) => {
                        let who = who % living.len();
                        living[who].0.spend("USD", &format!("{value}e-{scale}")).unwrap();
                        spent += Decimal::from_i128_with_scale(value.into(), scale);
                    }
                    Step::Child(who, value, scale) => {
                        let who = who % living.len();
                        let child = budget(&[&format!("USD:{}", Decimal::from_i128_with_scale(value.into(), scale))]);
                        if living[who].0.reserve(&child).is_ok() {
                            living.push((child, Some(who)));
                        }
                    }
                    Step::End => {
                        if let Some((child, Some(parent))) = living.pop_if(|(_, parent)| parent.is_some()) {
                            written_off += of(&child).min(Decimal::ZERO);
                            living[parent].0.give_back(&child);
                        }
                    }
                }
                let all: Decimal = living.iter().map(|(budget, _)| of(budget)).sum();
                prop_assert_eq!(all + spent + written_off, first);
            }
        }

        #[test]
        fn numbers_are_what_they_say(whole in 0u64..1_000_000_000_000, fraction in "[0-9]{0,16}", zeros in 0usize..5) {
            let text = if fraction.is_empty() { whole.to_string() } else { format!("{whole}.{fraction}") };
            let expected = Decimal::from_str_exact(&text).unwrap();
            prop_assert_eq!(number(&text), Ok(expected.normalize()));
            let moved = format!("0.{}{whole:012}{fraction}e{}", "0".repeat(zeros), 12 + zeros);
            prop_assert_eq!(number(&moved), Ok(expected.normalize()));
        }

        #[test]
        fn any_text_is_a_number_or_not(text in "[-+0-9.eE]{0,70}", any in "\\PC{0,20}") {
            let _ = (number(&text), number(&any), amount(&any));
        }
    }
}
