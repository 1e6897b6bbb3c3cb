//! What `--head` says about a detector, and what the shapes of its outputs say → [`Head`].
//!
//! A preset knows what its family means by the values of a prediction, once for networks that
//! decode in the graph (one output of three axes) and once for networks cut before that (an output
//! a level). Arrangement, number of classes and grids follow from the shapes; every fact can be
//! given as a parameter instead.

mod param;

pub use param::{Param, ParamError};

use crate::plan::{Plan, PlannedPort};
use crate::write::port;
use thiserror::Error;
use unbraid_runtime::detect::{
    Anchor, Arrangement, Boxes, ChannelOrder, Fit, Head, HeadFault, Level, MAX_ANCHORS, MAX_LEVELS,
    Picture,
};
use unbraid_runtime::dims::Hw;

/// What the values of a prediction mean.
#[derive(Clone, Copy, Debug)]
struct Form {
    boxes: Boxes,
    objectness: bool,
    logits: bool,
}

/// A family of detectors, as its exporters write them.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// What `--head` takes: the first is the family, the others mean the same.
    pub names: &'static [&'static str],
    /// All predictions in one output.
    joined: Form,
    /// An output a level.
    maps: Option<Form>,
    strides: &'static [u32],
    /// Width and height, level by level.
    anchors: &'static [[f32; 2]],
    picture: Picture,
    score: f32,
    iou: f32,
}

/// Sizes of the anchors of `YOLOv5` n to x and `YOLOv7`-tiny (`models/yolov5s.yaml`), in pixels.
const YOLOV5_ANCHORS: &[[f32; 2]] = &[
    [10.0, 13.0],
    [16.0, 30.0],
    [33.0, 23.0],
    [30.0, 61.0],
    [62.0, 45.0],
    [59.0, 119.0],
    [116.0, 90.0],
    [156.0, 198.0],
    [373.0, 326.0],
];

/// Those of `YOLOv7` (`cfg/deploy/yolov7.yaml`).
const YOLOV7_ANCHORS: &[[f32; 2]] = &[
    [12.0, 16.0],
    [19.0, 36.0],
    [40.0, 28.0],
    [36.0, 75.0],
    [76.0, 55.0],
    [72.0, 146.0],
    [142.0, 110.0],
    [192.0, 243.0],
    [459.0, 401.0],
];

const CENTRED: Picture = Picture { fit: Fit::Centre, fill: 114, order: ChannelOrder::Rgb };

const DECODED: Form = Form { boxes: Boxes::Centre, objectness: true, logits: false };

const YOLOV5: Preset = Preset {
    names: &["yolov5"],
    joined: DECODED,
    maps: Some(Form { boxes: Boxes::Anchors, objectness: true, logits: true }),
    strides: &[8, 16, 32],
    anchors: YOLOV5_ANCHORS,
    picture: CENTRED,
    score: 0.25,
    iou: 0.45,
};

/// Every preset. Thresholds are those that the family's own demonstrations use.
pub const PRESETS: &[Preset] = &[
    YOLOV5,
    Preset { names: &["yolov6"], maps: None, score: 0.4, ..YOLOV5 },
    Preset { names: &["yolov7"], anchors: YOLOV7_ANCHORS, ..YOLOV5 },
    Preset {
        names: &["yolov8", "yolov9", "yolo11"],
        joined: Form { objectness: false, ..DECODED },
        maps: Some(Form { boxes: Boxes::Distances { bins: 16 }, objectness: false, logits: true }),
        iou: 0.7,
        ..YOLOV5
    },
    Preset {
        names: &["yolox"],
        joined: Form { boxes: Boxes::Grid, ..DECODED },
        maps: Some(Form { boxes: Boxes::Grid, ..DECODED }),
        picture: Picture { fit: Fit::Corner, order: ChannelOrder::Bgr, ..CENTRED },
        score: 0.3,
        ..YOLOV5
    },
];

/// Why a network has no such head.
#[derive(Debug, Error)]
pub enum HeadError {
    /// No input, or no output.
    #[error("the network has no input, or no output")]
    Ports,
    /// The first input is no picture.
    #[error(
        "the first input `{name}` has shape {shape:?}; a detector takes a picture [1, 1 or 3, H, W]"
    )]
    Input {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<u32>,
    },
    /// The first output is neither all predictions nor a map of them.
    #[error(
        "the first output `{name}` has shape {shape:?}; a head reads [1, N, F], [1, F, N], [1, A * F, H, W] or \
         [1, A, H, W, F]: name the outputs with --outputs"
    )]
    Output {
        /// Its name.
        name: String,
        /// Its shape.
        shape: Vec<u32>,
    },
    /// The values of a prediction do not suffice for a class.
    #[error(
        "output `{name}` of shape {shape:?} leaves no class: {taken} of the {fields} values of a prediction \
         are its box and objectness; is it another --head?"
    )]
    Classes {
        /// The output's name.
        name: String,
        /// Its shape.
        shape: Vec<u32>,
        /// Values of a prediction.
        fields: u32,
        /// Values that are no class.
        taken: u32,
    },
    /// Boxes in maps, which the family does not define.
    #[error(
        "--head {preset} does not say what an output a level means; say it: --head-param boxes=..., objectness=..., logits=..."
    )]
    Maps {
        /// The family.
        preset: &'static str,
    },
    /// There are not as many anchors as outputs of that shape need.
    #[error(
        "{found} anchors do not share out among {levels} levels; --head-param anchors=W,H,W,H,..."
    )]
    Anchors {
        /// Anchors that there are.
        found: usize,
        /// Levels.
        levels: usize,
    },
    /// More levels than a file can say.
    #[error("{0} levels; a file holds at most {MAX_LEVELS}")]
    Levels(usize),
    /// The runtime refuses the head.
    #[error("the network has no such head: {0}")]
    Refused(HeadFault),
}

impl Preset {
    /// The preset of this name.
    pub fn named(name: &str) -> Option<Self> {
        PRESETS.iter().copied().find(|preset| preset.names.contains(&name))
    }

    /// The head of a planned network.
    ///
    /// # Errors
    /// When inputs or outputs do not have the shapes of such a head.
    pub fn head(&self, plan: &Plan, params: &[Param]) -> Result<Head, HeadError> {
        let (Some(picture), Some(output)) = (plan.inputs.first(), plan.outputs.first()) else {
            return Err(HeadError::Ports);
        };
        let [1, 1 | 3, h, w] = *picture.shape else {
            let (name, shape) = (picture.name.clone(), picture.shape.clone());
            return Err(HeadError::Input { name, shape });
        };
        let (input, per_level) = (Hw { h, w }, output.shape.len() > 3);
        let mut facts = self.facts(per_level);
        params.iter().for_each(|param| facts.take(param));
        let form = facts.form.ok_or(HeadError::Maps { preset: self.names[0] })?;
        let strides = match facts.strides {
            Some(strides) => strides,
            None if per_level => map_strides(input, &plan.outputs),
            None => self.strides.to_vec(),
        };
        let (levels, anchor_count) = levels(form.boxes, per_level, &strides, &facts.anchors)?;
        let mut head = Head {
            input,
            classes: 0,
            extra: 0,
            arrangement: Arrangement::Rows,
            boxes: form.boxes,
            objectness: form.objectness,
            logits: form.logits,
            level_count: levels.len() as u8,
            anchor_count,
            levels: [Level::default(); MAX_LEVELS],
            picture: facts.picture,
            score_threshold: facts.score,
            iou_threshold: facts.iou,
        };
        head.levels[..levels.len()].copy_from_slice(&levels);
        (head.arrangement, head.classes) = arranged(&head, output, &strides)?;
        if let Some(classes) = facts.classes {
            head.extra = head.classes.saturating_sub(classes);
            head.classes = classes;
        }
        checked(head, plan)
    }

    fn facts(&self, per_level: bool) -> Facts {
        Facts {
            form: if per_level { self.maps } else { Some(self.joined) },
            classes: None,
            strides: None,
            anchors: self.anchors.to_vec(),
            picture: self.picture,
            score: self.score,
            iou: self.iou,
        }
    }
}

/// A preset with the user's parameters in place of its own.
struct Facts {
    form: Option<Form>,
    /// Not all values behind box and objectness, as without.
    classes: Option<u32>,
    /// Not the preset's: maps say their own.
    strides: Option<Vec<u32>>,
    anchors: Vec<[f32; 2]>,
    picture: Picture,
    score: f32,
    iou: f32,
}

impl Facts {
    fn take(&mut self, param: &Param) {
        // Where the preset says nothing, boxes make a form; the rest must be said too.
        let form =
            self.form.unwrap_or(Form { boxes: Boxes::Centre, objectness: false, logits: false });
        match param {
            Param::Boxes(boxes) => self.form = Some(Form { boxes: *boxes, ..form }),
            Param::Objectness(objectness) => {
                self.form = Some(Form { objectness: *objectness, ..form });
            }
            Param::Logits(logits) => self.form = Some(Form { logits: *logits, ..form }),
            Param::Classes(classes) => self.classes = Some(*classes),
            Param::Strides(strides) => self.strides = Some(strides.clone()),
            Param::Anchors(anchors) => self.anchors.clone_from(anchors),
            Param::Fit(fit) => self.picture.fit = *fit,
            Param::Fill(fill) => self.picture.fill = *fill,
            Param::Order(order) => self.picture.order = *order,
            Param::Score(score) => self.score = *score,
            Param::Iou(iou) => self.iou = *iou,
        }
    }
}

/// Input pixels a cell of each map.
fn map_strides(input: Hw, outputs: &[PlannedPort]) -> Vec<u32> {
    let rows = |port: &PlannedPort| match *port.shape {
        [1, _, h, _] | [1, _, h, _, _] => Some(h),
        _ => None,
    };
    outputs.iter().map_while(rows).map(|rows| input.h / rows.max(1)).collect()
}

/// The levels with their anchors, and how many anchors each has. Boxes that need no cells, all in
/// one output, need no levels either.
fn levels(
    boxes: Boxes,
    per_level: bool,
    strides: &[u32],
    anchors: &[[f32; 2]],
) -> Result<(Vec<Level>, u8), HeadError> {
    if strides.len() > MAX_LEVELS {
        return Err(HeadError::Levels(strides.len()));
    }
    if boxes != Boxes::Anchors {
        let plain = |&stride: &u32| Level { stride, ..Level::default() };
        let needed = boxes.needs_cells() || per_level;
        return Ok((strides.iter().filter(|_| needed).map(plain).collect(), 1));
    }
    let (found, levels) = (anchors.len(), strides.len());
    let each = found.checked_div(levels).filter(|each| each * levels == found);
    let each = each.filter(|each| (1..=MAX_ANCHORS).contains(each));
    let each = each.ok_or(HeadError::Anchors { found, levels })?;
    let level = |(&stride, sizes): (&u32, &[[f32; 2]])| {
        let mut level = Level { stride, ..Level::default() };
        for (anchor, &[w, h]) in level.anchors.iter_mut().zip(sizes) {
            *anchor = Anchor { w, h };
        }
        level
    };
    Ok((strides.iter().zip(anchors.chunks(each)).map(level).collect(), each as u8))
}

/// Where the values lie and how many classes there are, as the first output's shape says.
fn arranged(
    head: &Head,
    output: &PlannedPort,
    strides: &[u32],
) -> Result<(Arrangement, u32), HeadError> {
    let anchors = u32::from(head.anchor_count);
    let (arrangement, fields) = match *output.shape {
        [1, a, b] if are_columns(head.input, strides, a, b) => (Arrangement::Columns, a),
        [1, _, b] => (Arrangement::Rows, b),
        [1, c, _, _] if c % anchors == 0 => (Arrangement::Maps, c / anchors),
        [1, _, _, _, f] => (Arrangement::Planes, f),
        _ => {
            let (name, shape) = (output.name.clone(), output.shape.clone());
            return Err(HeadError::Output { name, shape });
        }
    };
    let taken = head.boxes.values() + u32::from(head.objectness);
    match fields.checked_sub(taken) {
        Some(classes @ 1..) => Ok((arrangement, classes)),
        _ => {
            let (name, shape) = (output.name.clone(), output.shape.clone());
            Err(HeadError::Classes { name, shape, fields, taken })
        }
    }
}

/// Whether the predictions of `[1, a, b]` lie along `b`: that axis, and not `a`, is a multiple of the
/// cells of all levels, or where neither or both are, the longer one.
fn are_columns(input: Hw, strides: &[u32], a: u32, b: u32) -> bool {
    let cells = |&stride: &u32| (input.h / stride.max(1)) * (input.w / stride.max(1));
    let cells: u32 = strides.iter().map(cells).sum();
    match (a.is_multiple_of(cells), b.is_multiple_of(cells)) {
        (true, false) => false,
        (false, true) => true,
        _ => b > a,
    }
}

/// Proved by the runtime's own check.
fn checked(head: Head, plan: &Plan) -> Result<Head, HeadError> {
    let inputs = plan.inputs.iter().map_while(|planned| port(planned, false).ok());
    let outputs = plan.outputs.iter().map_while(|planned| port(planned, true).ok());
    head.check(inputs, outputs).map_err(HeadError::Refused)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Target;
    use unbraid_runtime::dims::Dims;
    use unbraid_runtime::step::Operand;

    fn planned(name: &str, shape: &[u32]) -> PlannedPort {
        let dims = match *shape {
            [1, c, h, w] => Dims { h, w, c },
            _ => Dims::vector(shape.iter().product()),
        };
        let operand = Operand { dims, ..Operand::default() };
        PlannedPort { name: name.to_owned(), operand, shape: shape.to_vec() }
    }

    /// What the preset makes of a 640 x 640 network with these outputs.
    fn head(name: &str, outputs: &[&[u32]], params: &[&str]) -> Result<Head, HeadError> {
        head_of(&[1, 3, 640, 640], name, outputs, params)
    }

    fn head_of(
        input: &[u32],
        name: &str,
        outputs: &[&[u32]],
        params: &[&str],
    ) -> Result<Head, HeadError> {
        let plan = Plan {
            target: Target::default(),
            names: vec![],
            weights: vec![],
            tensors: vec![],
            plain: None,
            inputs: vec![planned("images", input)],
            outputs: outputs.iter().map(|shape| planned("output", shape)).collect(),
            arena_base: 0,
            scratch_per_worker: 0,
            macs: 0,
            steps: vec![],
            fused_regions: 0,
            head: None,
            labels: vec![],
        };
        let params: Vec<Param> = params.iter().map(|param| param.parse().unwrap()).collect();
        Preset::named(name).unwrap().head(&plan, &params)
    }

    const MAPS_255: [&[u32]; 3] = [&[1, 255, 80, 80], &[1, 255, 40, 40], &[1, 255, 20, 20]];
    const MAPS_144: [&[u32]; 3] = [&[1, 144, 80, 80], &[1, 144, 40, 40], &[1, 144, 20, 20]];
    const PLANES: [&[u32]; 3] = [&[1, 3, 80, 80, 7], &[1, 3, 40, 40, 7], &[1, 3, 20, 20, 7]];

    #[test]
    fn exports_of_every_family_are_recognised_by_their_shapes() {
        use Arrangement::{Columns, Maps, Planes, Rows};
        let distances = Boxes::Distances { bins: 16 };
        type Case<'a> = (&'a str, &'a [&'a [u32]], Arrangement, Boxes, u32, (bool, bool));
        let cases: [Case<'_>; 9] = [
            ("yolov5", &[&[1, 25200, 85]], Rows, Boxes::Centre, 80, (true, false)),
            ("yolov5", &MAPS_255, Maps, Boxes::Anchors, 80, (true, true)),
            ("yolov7", &PLANES, Planes, Boxes::Anchors, 2, (true, true)),
            ("yolov6", &[&[1, 8400, 85]], Rows, Boxes::Centre, 80, (true, false)),
            ("yolov8", &[&[1, 84, 8400]], Columns, Boxes::Centre, 80, (false, false)),
            ("yolo11", &[&[1, 8400, 5]], Rows, Boxes::Centre, 1, (false, false)),
            ("yolov9", &MAPS_144, Maps, distances, 80, (false, true)),
            ("yolox", &[&[1, 8400, 6]], Rows, Boxes::Grid, 1, (true, false)),
            ("yolox", &[&[1, 85, 80, 80], &[1, 85, 40, 40]], Maps, Boxes::Grid, 80, (true, false)),
        ];
        for (name, outputs, arrangement, boxes, classes, (objectness, logits)) in cases {
            let head = head(name, outputs, &[]).unwrap();
            assert_eq!((head.arrangement, head.boxes), (arrangement, boxes), "{name} {outputs:?}");
            assert_eq!((head.classes, head.input), (classes, Hw::square(640)));
            assert_eq!((head.objectness, head.logits), (objectness, logits));
            let strides: Vec<u32> = head.used_levels().iter().map(|level| level.stride).collect();
            let needed = boxes.needs_cells() || outputs.len() > 1;
            let count = if outputs.len() > 1 { outputs.len() } else { 3 };
            assert_eq!(strides, [8, 16, 32][..if needed { count } else { 0 }], "{name}");
        }
    }

    #[test]
    fn anchors_lie_in_their_level() {
        let head = head("yolov5", &MAPS_255, &[]).unwrap();
        assert_eq!(head.anchor_count, 3);
        assert_eq!(head.levels[1].anchors[2], Anchor { w: 59.0, h: 119.0 });
        assert_eq!(head.levels[1].anchors[3], Anchor::default());
    }

    #[test]
    fn a_parameter_takes_the_place_of_the_familys_fact() {
        let few = &["anchors=1,2,3,4,5,6", "score=0.6", "iou=0.1", "fit=stretch", "fill=0"];
        let maps: [&[u32]; 3] = [&[1, 12, 80, 80], &[1, 12, 40, 40], &[1, 12, 20, 20]];
        let head = head("yolov5", &maps, few).unwrap();
        assert_eq!((head.anchor_count, head.classes), (1, 7));
        assert_eq!(head.levels[2].anchors[0], Anchor { w: 5.0, h: 6.0 });
        assert_eq!((head.score_threshold, head.iou_threshold), (0.6, 0.1));
        let (fit, order) = (Fit::Stretch, ChannelOrder::Rgb);
        assert_eq!(head.picture, Picture { fit, fill: 0, order });
    }

    #[test]
    fn values_behind_the_classes_are_extra() {
        // Masks: 80 classes, 32 coefficients.
        let masks = head("yolov8", &[&[1, 116, 8400]], &["classes=80"]).unwrap();
        assert_eq!((masks.classes, masks.extra), (80, 32));
        let faces = head("yolov5", &[&[1, 25200, 16]], &["classes=1"]).unwrap();
        assert_eq!((faces.classes, faces.extra), (1, 10));
        let too_many = head("yolov8", &[&[1, 84, 8400]], &["classes=81"]).unwrap_err();
        assert!(matches!(too_many, HeadError::Refused(HeadFault::Output { index: 0 })));
    }

    #[test]
    fn decoded_yolox_and_maps_of_yolov6_can_be_said() {
        let decoded = head("yolox", &[&[1, 8400, 85]], &["boxes=centre", "order=rgb"]).unwrap();
        assert_eq!((decoded.boxes, decoded.level_count), (Boxes::Centre, 0));
        let said = ["boxes=distances", "logits=yes"];
        let maps = head("yolov6", &[&[1, 84, 80, 80], &[1, 84, 40, 40]], &said).unwrap();
        assert_eq!((maps.boxes, maps.classes), (Boxes::Distances { bins: 1 }, 80));
        assert!((maps.logits, maps.objectness) == (true, false));
    }

    #[test]
    fn networks_without_such_a_head_are_refused_with_the_reason() {
        let refused = |result: Result<Head, HeadError>, word: &str| {
            let message = result.unwrap_err().to_string();
            assert!(message.contains(word), "no {word:?} in: {message}");
        };
        refused(head_of(&[1, 4, 64, 64], "yolox", &[&[1, 84, 6]], &[]), "[1, 4, 64, 64]");
        refused(head("yolov8", &[&[1, 1000]], &[]), "--outputs");
        refused(head("yolov8", &[&[1, 4, 8400]], &[]), "no class");
        refused(head("yolov6", &MAPS_255, &[]), "--head-param boxes");
        refused(head("yolov5", &MAPS_255, &["anchors=1,2,3,4"]), "2 anchors");
        refused(head("yolox", &[&[1, 8401, 6]], &[]), "output 0");
        refused(head("yolox", &[&[1, 8400, 6]], &["strides=8,16,33"]), "stride of level 2");
        let six = [&[1, 6, 20, 20][..]; 6];
        refused(head("yolox", &six, &[]), "6 levels");
    }
}
