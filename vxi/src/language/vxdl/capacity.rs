//! `capacity`: a unit, an event, and an amount in one of four shapes.

use super::tree::Element;

use super::element::{Dialect, Reader, Text};
use crate::diagnostic::{one_line, quoted};
use crate::language::units::{UnitError, aurora_scale, unit_scale};
use crate::language::words::number_error;
use crate::model::quantity::parse_scaled;
use crate::model::{Amount, At, Capacity, Quantity, Step};

const SHAPES: [&str; 6] = ["unit", "event", "interval", "simple", "set", "scale"];

/// An amount whose unit is not known yet, since it may come later.
enum Shape<'a> {
    Simple(Text<'a>),
    Interval { min: Option<Text<'a>>, max: Option<Text<'a>> },
    Set(Vec<Text<'a>>),
    Scale { min: Text<'a>, max: Text<'a>, step: Text<'a> },
}

impl<'t> Reader<'t> {
    /// Reads one value of a capacity and adds it to those of other periods.
    pub(crate) fn capacity<Q: Quantity>(&mut self, element: Element<'_, 't>, into: &mut Capacity<Q>) {
        let mut at = At::NOWHERE;
        let (mut unit, mut event, mut shape) = (None, None, None);
        let mut broken = false;
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            let read = match child.name() {
                "unit" => {
                    let text = self.filled(child);
                    broken |= text.is_none();
                    self.once(&mut unit, child, text);
                    continue;
                }
                "event" => {
                    let name = self.name(child);
                    broken |= name.is_none();
                    self.once(&mut event, child, name);
                    continue;
                }
                "simple" => self.filled(child).map(Shape::Simple),
                "interval" => self.interval(child),
                "set" => match (self.filled(child), &mut shape) {
                    (Some(text), Some(Shape::Set(all))) => {
                        all.push(text);
                        continue;
                    }
                    (text, _) => text.map(|text| Shape::Set(vec![text])),
                },
                "scale" => self.scale(child),
                _ => {
                    self.unknown(child, &SHAPES);
                    continue;
                }
            };
            broken |= read.is_none();
            if at.0.is_none() {
                at = self.at(child);
            }
            if shape.is_some() {
                let wrong = format!("<{}> says more than one amount", element.name());
                let remedy = "keep one of <simple>, <interval>, <scale>, or several <set>";
                self.wrong(child, child.start(), wrong, remedy);
            } else {
                shape = read;
            }
        }
        let Some(shape) = shape else {
            if !broken {
                self.missing(element, "amount", "add <simple>, <interval>, <set> or <scale>");
            }
            return;
        };
        let Some(scale) = self.scale_of::<Q>(element, unit) else { return };
        let Some(amount) = self.amount(element, &shape, scale) else { return };
        into.steps.push(Step { event, amount, at });
    }

    fn interval<'a>(&mut self, element: Element<'a, 't>) -> Option<Shape<'a>> {
        let (mut min, mut max, mut filled) = (None, None, true);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            let slot = match child.name() {
                "min" => &mut min,
                "max" => &mut max,
                _ => {
                    self.unknown(child, &["min", "max"]);
                    continue;
                }
            };
            let text = self.filled(child);
            filled &= text.is_some();
            self.once(slot, child, text);
        }
        if min.is_none() && max.is_none() {
            if filled {
                self.missing(element, "bound", "add <min>, <max> or both");
            }
            return None;
        }
        Some(Shape::Interval { min, max })
    }

    fn scale<'a>(&mut self, element: Element<'a, 't>) -> Option<Shape<'a>> {
        let (mut min, mut max, mut step) = (None, None, None);
        let mut next = element.first_child();
        while let Some(child) = self.next(&mut next) {
            let slot = match child.name() {
                "min" => &mut min,
                "max" => &mut max,
                "step" => &mut step,
                _ => {
                    self.unknown(child, &["min", "max", "step"]);
                    continue;
                }
            };
            let text = self.filled(child);
            self.once(slot, child, text);
        }
        for (what, slot) in [("min", &min), ("max", &max), ("step", &step)] {
            if slot.is_none() {
                self.missing(element, &format!("<{what}>"), "a scale has <min>, <max> and <step>");
            }
        }
        Some(Shape::Scale { min: min?, max: max?, step: step? })
    }

    /// How many base units one of the capacity's unit is.
    fn scale_of<Q: Quantity>(&mut self, element: Element<'_, 't>, unit: Option<Text<'_>>) -> Option<u64> {
        let (offset, given) = unit.as_ref().map_or((element.start(), None), |u| (u.offset, Some(&*u.text)));
        let scale = match self.dialect {
            Dialect::Forum => unit_scale::<Q>(given),
            Dialect::Aurora => aurora_scale::<Q>(given),
        };
        match scale {
            Ok(scale) => Some(scale),
            Err(UnitError { wrong, remedy }) => {
                self.wrong(element, offset, format!("<{}> {wrong}", element.name()), remedy);
                None
            }
        }
    }

    fn amount<Q: Quantity>(&mut self, element: Element<'_, 't>, shape: &Shape<'_>, scale: u64) -> Option<Amount<Q>> {
        match shape {
            Shape::Simple(text) => self.quantity(element, text, scale).map(Amount::Exactly),
            Shape::Interval { min, max } => {
                let read = |reader: &mut Self, text: &Option<Text<'_>>| match text {
                    Some(text) => reader.quantity(element, text, scale).map(Some),
                    None => Some(None),
                };
                let (min, max) = (read(self, min), read(self, max));
                Some(Amount::Range { min: min?, max: max? })
            }
            Shape::Set(all) => {
                let read: Vec<_> = all.iter().map(|text| self.quantity(element, text, scale)).collect();
                read.into_iter().collect::<Option<_>>().map(Amount::OneOf)
            }
            Shape::Scale { min, max, step } => {
                let (min, max) = (self.quantity(element, min, scale), self.quantity(element, max, scale));
                let step = self.quantity(element, step, scale);
                Some(Amount::Scale { min: min?, max: max?, step: step? })
            }
        }
    }

    fn quantity<Q: Quantity>(&mut self, element: Element<'_, 't>, text: &Text<'_>, scale: u64) -> Option<Q> {
        match parse_scaled(&text.text, scale) {
            Ok(base) => Some(Q::of(base)),
            Err(error) => {
                let (wrong, remedy) = number_error(error);
                let name = one_line(element.name());
                self.wrong(element, text.offset, format!("<{name}> {} {wrong}", quoted(&text.text)), remedy);
                None
            }
        }
    }
}
