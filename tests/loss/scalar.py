"""A second loss of [yolo]: one image, one cell, one truth at a time, in plain Python numbers.

It shares nothing with the package and is written from the rules, not from the vectorised code.
"""

from math import atan, exp, inf, isfinite, log, pi, sqrt
from types import SimpleNamespace


def logistic(x):
    if x < -700:
        return 0.0
    return 1 / (1 + exp(-x))


def edges(b):
    return b[0] - b[2] / 2, b[1] - b[3] / 2, b[0] + b[2] / 2, b[1] + b[3] / 2


def overlap(a, b):
    """Intersection, union, hull width, hull height."""
    al, at, ar, ab = edges(a)
    bl, bt, br, bb = edges(b)
    w, h = min(ar, br) - max(al, bl), min(ab, bb) - max(at, bt)
    inter = 0.0 if w < 0 or h < 0 else w * h
    union = a[2] * a[3] + b[2] * b[3] - inter
    return inter, union, max(ar, br) - min(al, bl), max(ab, bb) - min(at, bt)


def similarity(kind, a, b):
    inter, union, cw, ch = overlap(a, b)
    iou = 0.0 if inter == 0 or union == 0 else inter / union
    if kind == "giou":
        return iou if cw * ch == 0 else iou - (cw * ch - union) / (cw * ch)
    if kind in ("diou", "ciou") and cw * cw + ch * ch > 0:
        d = ((a[0] - b[0]) ** 2 + (a[1] - b[1]) ** 2) / (cw * cw + ch * ch)
        if kind == "diou":
            return iou - d**0.6
        v = 4 / pi**2 * (atan(b[2] / b[3]) - atan(a[2] / a[3])) ** 2
        return iou - d - v * v / (1 - iou + v + 1e-6)
    return iou


def iou_slopes(kind, p, g):
    """Change wanted of x, y, w, h."""
    p = (p[0], p[1], p[2] or 1.0, p[3] or 1.0)
    l, t, r, b = edges(p)
    gl, gt, gr, gb = edges(g)
    area, area_g = (b - t) * (r - l), (gb - gt) * (gr - gl)
    ih, iw = min(b, gb) - max(t, gt), min(r, gr) - max(l, gl)
    inter = iw * ih
    union = area + area_g - inter
    cw, ch = max(r, gr) - min(l, gl), max(b, gb) - min(t, gt)
    hull, far = cw * ch, cw * cw + ch * ch
    s2 = (p[0] - g[0]) ** 2 + (p[1] - g[1]) ** 2
    d_area = {"t": -(r - l), "b": r - l, "l": -(b - t), "r": b - t}
    d_inter = {
        "t": -iw if t > gt else 0,
        "b": iw if b < gb else 0,
        "l": -ih if l > gl else 0,
        "r": ih if r < gr else 0,
    }
    d_hull = {
        "t": -cw if t < gt else 0,
        "b": cw if b > gb else 0,
        "l": -ch if l < gl else 0,
        "r": ch if r > gr else 0,
    }
    d_union = {k: d_area[k] - d_inter[k] for k in "tblr"}
    slope = {k: 0.0 for k in "tblr"}
    if union > 0:
        slope = {k: (union * d_inter[k] - inter * d_union[k]) / union**2 for k in "tblr"}
    if t >= b:
        slope["t"] = slope["b"]
    if l >= r:
        slope["l"] = slope["r"]
    apart = iw <= 0 or ih <= 0
    if kind == "giou" and hull > 0:
        for k in "tblr":
            extra = (hull * d_union[k] - union * d_hull[k]) / hull**2
            slope[k] = extra if apart else slope[k] + extra
    gx, gy = slope["l"] + slope["r"], slope["t"] + slope["b"]
    gw, gh = slope["r"] - slope["l"], slope["b"] - slope["t"]
    if kind in ("diou", "ciou") and far > 0:
        cw_x, cw_w = (r > gr) - (l < gl), ((r > gr) + (l < gl)) / 2
        ch_y, ch_h = (b > gb) - (t < gt), ((b > gb) + (t < gt)) / 2
        ex = (2 * (g[0] - p[0]) * far - 2 * cw * cw_x * s2) / far**2
        ey = (2 * (g[1] - p[1]) * far - 2 * ch * ch_y * s2) / far**2
        ew = 2 * cw * cw_w * s2 / far**2
        eh = 2 * ch * ch_h * s2 / far**2
        if kind == "ciou":
            angle = atan(g[2] / g[3]) - atan(p[2] / p[3])
            v = 4 / pi**2 * angle**2
            alpha = v / (1 - inter / union + v + 1e-6)
            ew += alpha * 8 / pi**2 * angle * p[3]
            eh -= alpha * 8 / pi**2 * angle * p[2]
        if apart:
            gx = gy = gw = gh = 0.0
        gx, gy, gw, gh = gx + ex, gy + ey, gw + ew, gh + eh
    return [gx, gy, gw, gh]


class Scalar:
    def __init__(self, layer, x, boxes, height, width, adversarial=False):
        self.layer, self.height, self.width = layer, height, width
        self.adversarial = adversarial
        self.rows, self.cols = len(x[0][0]), len(x[0][0][0])
        self.value = [self.activate(image) for image in x]  # sets entries
        self.delta = [[[[0.0] * self.cols for _ in r] for r in image] for image in x]
        self.boxes = [self.listed(b, boxes) for b in range(len(x))]
        self.left_out = len(boxes) - sum(self.usable(t) for image in self.boxes for t in image)
        self.multipliers = None
        if layer.counters_per_class is not None:
            most = max(layer.counters_per_class)
            cap = inf if layer.max_delta is None else layer.max_delta
            self.multipliers = [min(cap, most / max(1, c)) for c in layer.counters_per_class]
        self.count = self.rewritten = 0
        self.iou = self.giou = self.obj = self.seen = 0.0

    # access

    def activate(self, image):
        layer, out = self.layer, []
        self.entries = 5 + layer.classes
        for c, plane in enumerate(image):
            e = c % self.entries
            bend = not layer.new_coords and e not in (2, 3)
            plane = [[logistic(v) if bend else v for v in row] for row in plane]
            if e < 2:
                a = layer.scale_x_y
                plane = [[a * v - (a - 1) / 2 for v in row] for row in plane]
            out.append(plane)
        return out

    def listed(self, b, boxes):
        """Truths of image b up to the first with x == 0, no more than `max`."""
        found = [row[1:] for row in boxes if row[0] == b][: self.layer.max]
        for i, t in enumerate(found):
            if t[1] == 0:
                return found[:i]
        return found

    def usable(self, t):
        label, x, y, w, h = t
        inside = 0 <= x <= 1 and 0 <= y <= 1 and w > 0 and h > 0
        return inside and 0 <= int(label) < self.layer.classes

    def label(self, t):
        return self.layer.map[int(t[0])] if self.layer.map else int(t[0])

    def get(self, which, at, e):
        b, k, j, i = at
        return which[b][k * self.entries + e][j][i]

    def put(self, which, at, e, value):
        b, k, j, i = at
        which[b][k * self.entries + e][j][i] = value

    def anchor(self, n):
        return self.layer.anchors[n][0] / self.width, self.layer.anchors[n][1] / self.height

    def predicted(self, at):
        _, k, j, i = at
        v = [self.get(self.value, at, e) for e in range(4)]
        aw, ah = self.anchor(self.layer.mask[k])
        if self.layer.new_coords:
            w, h = 4 * v[2] ** 2 * aw, 4 * v[3] ** 2 * ah
        else:
            w, h = exp(v[2]) * aw, exp(v[3]) * ah
        return (i + v[0]) / self.cols, (j + v[1]) / self.rows, w, h

    def weight(self, label):
        return self.multipliers[label] if self.multipliers else 1.0

    # the three passes

    def run(self):
        for b in range(len(self.value)):
            for j in range(self.rows):
                for i in range(self.cols):
                    for k in range(len(self.layer.mask)):
                        self.pass_a((b, k, j, i))
            for t in self.boxes[b]:
                if self.usable(t):
                    self.pass_b(b, t)
            self.pass_c(b)
        return self.report()

    def pass_a(self, at):
        layer, norm = self.layer, self.layer.obj_normalizer
        p = self.predicted(at)
        best = best_match = 0.0
        nearest = None
        for t in self.boxes[at[0]]:
            if not self.usable(t):
                continue
            if not isfinite(self.get(self.value, at, 4)):
                self.put(self.value, at, 4, 0.0)
            scores = [self.get(self.value, at, 5 + c) for c in range(layer.classes)]
            v = similarity("iou", p, t[1:])
            if v > best:
                best, nearest = v, t
            if v > best_match and any(s > 0.25 for s in scores):
                best_match = v
        o = self.get(self.value, at, 4)
        d = norm * (0 - o)
        if best_match > layer.ignore_thresh:
            d = max(d, norm * (best_match - o)) if layer.objectness_smooth else 0.0
        elif self.adversarial:
            d = self.adversary(at, p, o)
        self.put(self.delta, at, 4, d)
        if best > layer.truth_thresh:
            q = best**2 if layer.objectness_smooth else 1.0
            self.put(self.delta, at, 4, norm * (q - o))
            c = self.label(nearest)
            self.class_delta(at, c)
            if layer.objectness_smooth:
                step = self.weight(c) * (q - self.get(self.value, at, 5 + c))
                self.put(self.delta, at, 5 + c, step)
            self.box_delta(at, nearest, c)

    def adversary(self, at, p, o):
        s = p[2] * p[3]
        s = sqrt(s) if s > 0 else s
        scores = [self.get(self.value, at, 5 + c) for c in range(self.layer.classes)]
        if any(v * o > 0.25 for v in scores):
            for c, v in enumerate(scores):
                if v * o > 0.25:
                    self.put(self.delta, at, 5 + c, s * (0 - v))
                elif v * o < 0.25:
                    self.put(self.delta, at, 5 + c, s * (1 - v))
            for e in range(4):
                step = self.get(self.delta, at, e) + s * (0 - self.get(self.value, at, e))
                self.put(self.delta, at, e, step)
        return s * self.layer.obj_normalizer * (0 - o)

    def pass_b(self, b, t):
        layer, c = self.layer, self.label(t)
        i, j = self.cell(t)
        best_n, best = 0, 0.0
        for n in range(layer.num):
            v = similarity("iou", (0, 0, *self.anchor(n)), (0, 0, t[3], t[4]))
            if v > best:
                best_n, best = n, v
        for n in range(layer.num):
            if n not in layer.mask:
                continue
            shape = (0, 0, *self.anchor(n)), (0, 0, t[3], t[4])
            near = similarity(layer.iou_thresh_kind, *shape) > layer.iou_thresh
            if n == best_n or (layer.iou_thresh < 1 and near):
                self.assign((b, layer.mask.index(n), j, i), t, c)

    def cell(self, t):
        i, j = int(t[1] * self.cols), int(t[2] * self.rows)
        return min(i, self.cols - 1), min(j, self.rows - 1)

    def assign(self, at, t, c):
        layer = self.layer
        p = self.predicted(at)
        self.box_delta(at, t, c)
        self.count += 1
        self.iou += similarity("iou", p, t[1:])
        self.obj += self.get(self.value, at, 4)
        self.seen += self.get(self.value, at, 5 + c)
        self.giou += similarity("giou", p, t[1:])
        step = self.weight(c) * layer.obj_normalizer * (1 - self.get(self.value, at, 4))
        if not layer.objectness_smooth or self.get(self.delta, at, 4) == 0:
            self.put(self.delta, at, 4, step)
        self.class_delta(at, c)

    def pass_c(self, b):
        if self.layer.iou_thresh >= 1:
            return
        for k in range(len(self.layer.mask)):
            for j in range(self.rows):
                for i in range(self.cols):
                    at = (b, k, j, i)
                    held = sum(
                        self.get(self.delta, at, 5 + c) > 0 for c in range(self.layer.classes)
                    )
                    if self.get(self.delta, at, 4) != 0 and held:
                        for e in range(4):
                            self.put(self.delta, at, e, self.get(self.delta, at, e) / held)

    def class_delta(self, at, c):
        layer, eps = self.layer, self.layer.label_smooth_eps
        high, low = (1 - eps + eps / 2, eps / 2) if eps else (1.0, 0.0)
        p = [self.get(self.value, at, 5 + n) for n in range(layer.classes)]
        known = self.get(self.delta, at, 5 + c)
        if known != 0:
            step = high - p[c] if isfinite(high - p[c]) else known
            self.put(self.delta, at, 5 + c, step * self.weight(c))
            return
        if layer.focal_loss:
            pt = p[c] + 1e-15
            g = -(1 - pt) * (2 * pt * log(pt) + pt - 1)
            for n in range(layer.classes):
                self.put(self.delta, at, 5 + n, ((n == c) - p[n]) * 0.5 * g)
            return
        for n in range(layer.classes):
            step = (high if n == c else low) - p[n]
            if isfinite(step):
                if n == c and self.multipliers:
                    step *= self.weight(c) * layer.cls_normalizer
                self.put(self.delta, at, 5 + n, step)

    def box_delta(self, at, t, c):
        layer, (_, k, j, i) = self.layer, at
        g, v = t[1:], [self.get(self.value, at, e) for e in range(4)]
        scale = layer.iou_normalizer * self.weight(c)
        if layer.iou_loss == "mse":
            aw, ah = self.anchor(layer.mask[k])
            ratio = g[2] / aw, g[3] / ah
            size = [sqrt(q / 4) if layer.new_coords else log(q) for q in ratio]
            target = [g[0] * self.cols - i, g[1] * self.rows - j, *size]
            step = [(2 - g[2] * g[3]) * (target[e] - v[e]) * scale for e in range(4)]
        else:
            step = iou_slopes(layer.iou_loss, self.predicted(at), g)
            if not layer.new_coords:
                step = [step[0], step[1], step[2] * exp(v[2]), step[3] * exp(v[3])]
            step = [s * scale for s in step]
            step = [s if isfinite(s) else 0.0 for s in step]
            if layer.max_delta is not None:
                step = [max(-layer.max_delta, min(layer.max_delta, s)) for s in step]
        before = [self.get(self.delta, at, e) for e in range(4)]
        self.rewritten += any(before)
        for e in range(4):
            self.put(self.delta, at, e, before[e] + step[e])

    def report(self):
        cost, parts = self.costs()
        images, factor = len(self.value), self.layer.delta_normalizer
        return SimpleNamespace(
            delta=[[[[v * factor for v in r] for r in p] for p in image] for image in self.delta],
            cost=cost,
            terms={name: value / images for name, value in parts.items()}
            | {"rewritten": self.rewritten, "left_out": self.left_out},
            averages={
                "objects": self.count,
                "iou": self.iou,
                "obj": self.obj,
                "classes": self.seen,
            },
        )

    def costs(self):
        layer, count = self.layer, max(1, self.count)
        total = rest = 0.0
        for image in self.delta:
            for c, plane in enumerate(image):
                squares = sum(v * v for row in plane for v in row)
                total += squares
                rest += squares if c % self.entries > 3 else 0.0
        class_loss = layer.obj_normalizer * rest
        apart = self.count - (self.giou if layer.iou_loss == "giou" else self.iou)
        cost = layer.iou_normalizer * apart / count + class_loss
        if layer.iou_loss == "mse" or not layer.show_details:
            cost = total
        box_loss = total - class_loss
        return cost, {"class_loss": class_loss, "iou_loss": box_loss, "total_loss": total}
