#!/usr/bin/env python3
"""Verifies an exported audit trail, or with --proof the proof of one event, from docs/audit-format.md alone.
Standard Python only. Prints {"verdict", "events", "root", "first_bad_seq", "problem"}; exits 0 for `complete`,
`pruned` and `proven`, 6 for everything else, 2 when a file cannot be read."""
import argparse, base64, hashlib, json, re, sys
MAX_LINE = 65536
sha = lambda *parts: hashlib.sha256(b"".join(parts)).digest()
# Ed25519 (RFC 8032), verification only.
P, L = 2**255 - 19, 2**252 + 27742317777372353535851937790883648493
D, I = -121665 * pow(121666, -1, P) % P, pow(2, (P - 1) // 4, P)
def add(p, q):
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % P, (p[1] + p[0]) * (q[1] + q[0]) % P
    c, d = 2 * p[3] * q[3] * D % P, 2 * p[2] * q[2] % P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % P, g * h % P, f * g % P, e * h % P
def times(n, p):
    q = (0, 1, 1, 0)
    while n:
        q, p, n = add(q, p) if n & 1 else q, add(p, p), n >> 1
    return q
same = lambda p, q: (p[0] * q[2] - q[0] * p[2]) % P == 0 and (p[1] * q[2] - q[1] * p[2]) % P == 0
def point(data):
    y = int.from_bytes(data, "little"); sign, y = y >> 255, y & (2**255 - 1)
    if y >= P: return None
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P; x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P: x = x * I % P
    if (x * x - x2) % P or (x == 0 and sign): return None
    x = P - x if x & 1 != sign else x; return x, y, 1, x * y % P
BASE = point((4 * pow(5, -1, P) % P).to_bytes(32, "little"))
weak = lambda p: same(times(8, p), (0, 1, 1, 0))
def ed25519(key, text, signature):
    a, r, s = point(key), point(signature[:32]), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or len(signature) != 64 or weak(a) or weak(r): return False
    h = int.from_bytes(hashlib.sha512(signature[:32] + key + text).digest(), "little") % L
    return same(times(s, BASE), add(r, times(h, a)))
def b64(text):
    """Bytes of standard base64 in its one spelling, or None."""
    try: data = base64.b64decode(text, validate=True)
    except ValueError: return None
    return data if base64.b64encode(data).decode() == text else None
def hash_of(text): return data if (data := b64(text)) is not None and len(data) == 32 else None
number = lambda text: int(text) if re.fullmatch(r"0|[1-9][0-9]{0,19}", text) and int(text) < 2**64 else None
is_control = lambda c: ord(c) < 32 or 127 <= ord(c) < 160
is_name = lambda text: text != "" and not any(c.isspace() or c == "+" or is_control(c) for c in text)
class Key:
    """A public key; `id` is what its signatures begin with."""
    def __init__(self, text):
        parts = text.split("+", 2)
        data = b64(parts[2]) if len(parts) == 3 else None
        if data is None or len(data) != 33 or data[0] != 1 or not is_name(parts[0]): raise ValueError(text)
        self.name, self.key = parts[0], data[1:]
        self.id = sha(self.name.encode(), b"\n\x01", self.key)[:4]
        if self.id.hex() != parts[1] or point(self.key) is None or weak(point(self.key)): raise ValueError(text)
    def __eq__(self, other): return (self.name, self.key) == (other.name, other.key)
class NoteError(Exception): pass
class NotSigned(NoteError): pass
def open_note(note, key):
    """(origin, size, root) of a checkpoint that `key` signed."""
    text, _, signatures = note.rpartition("\n\n")
    head, lines = text.split("\n"), signatures[:-1].split("\n") if signatures.endswith("\n") else []
    size, root = (number(head[1]), hash_of(head[2])) if len(head) == 3 else (None, None)
    if not 1 <= len(lines) <= 100 or size is None or root is None or not is_name(head[0]) \
            or any(is_control(c) and c != "\n" for c in note):
        raise NoteError("it is not a signed note of origin, size and root")
    signed = False
    for line in lines:
        name, _, encoded = line[2:].partition(" "); data = b64(encoded)
        if not line.startswith("\u2014 ") or not is_name(name) or data is None or len(data) < 4:
            raise NoteError("it is not a signed note of origin, size and root")
        if name != key.name or data[:4] != key.id: continue
        if signed or not ed25519(key.key, (text + "\n").encode(), data[4:]): raise NoteError("its signature is wrong")
        signed = True
    if not signed: raise NotSigned("it has no signature of this key")
    return head[0], size, root
class Tree:
    def __init__(self): self.size, self.peaks = 0, []
    def push(self, leaf):
        level = self.size
        while level & 1: leaf, level = sha(b"\1", self.peaks.pop(), leaf), level >> 1
        self.peaks.append(leaf); self.size += 1
    def root(self):
        root = self.peaks[-1] if self.peaks else sha()
        for peak in reversed(self.peaks[:-1]): root = sha(b"\1", peak, root)
        return root
class Evidence:
    """The second file: the note, the list of leaves, the ends of the epochs."""
    def __init__(self, data):
        self.note, rest = self.cut(data)
        self.list, self.holds_form, self.leaves, self.tree, self.epochs = rest is not None, True, [], Tree(), []
        if rest is None: return
        lines = rest.split(b"\n")
        whole = lines.pop() == b""  # no line without an end
        text = [line.decode("utf-8", "replace") for line in lines]
        title = text.pop(0) if text else ""
        first = 0 if title == "lictor-leaves/v1" else number(title[17:]) if title.startswith("lictor-leaves/v1 ") else None
        if first is None or (first == 0 and title != "lictor-leaves/v1"): self.holds_form = False; first = 0
        peaks = [hash_of(text.pop(0)) if text else None for _ in range(bin(first).count("1"))]
        if None in peaks: self.holds_form = False
        elif self.holds_form: self.tree.size, self.tree.peaks = first, peaks
        self.first = Tree(); self.first.size, self.first.peaks = self.tree.size, list(self.tree.peaks)
        end = text.index("") if "" in text else len(text)
        for line in text[:end] if self.holds_form else []:
            leaf = hash_of(line)
            if leaf is None: self.holds_form = False; break
            self.leaves.append(leaf); self.tree.push(leaf)
        if end == len(text): self.holds_form &= whole; return
        if text[end + 1:end + 2] != ["lictor-epochs/v1"]: self.holds_form = False
        after = b"\n".join(lines[len(lines) - len(text) + end + 2:]) + (b"\n" if whole else b"")
        while self.holds_form and after is not None:
            note, after = self.cut(after); self.holds_form = note is not None
            if note is not None: self.epochs.append(note)
    @staticmethod
    def cut(data):
        """The note at the beginning, and what follows its empty line."""
        end = -1
        for _ in range(2):
            end = 0 if end < 0 and data.startswith(b"\n") else data.find(b"\n\n", max(end, 0)) + 1
            if end <= 0 and not data.startswith(b"\n"): break
        note, rest = (data[:end], data[end + 1:]) if end > 0 else (data, None)
        try: return (note.decode("utf-8") if note else None), rest
        except UnicodeDecodeError: return "", rest
NEEDED = {"v": int, "seq": int, "session_seq": int, "event_type": str, "timestamp": str, "org_id": str,
          "user_id": str, "agent_id": str, "session_id": str}
OPTIONAL = {"action_name": str, "execution_id": str, "workflow_run_id": str, "success": bool}
def event_of(line):
    """The event in a line, or None."""
    def pairs(found):
        names = [name for name, _ in found if name in NEEDED or name in OPTIONAL]
        return dict(found, **({"\0doubled": True} if len(names) != len(set(names)) else {}))
    def refuse(_): raise ValueError
    try: event = json.loads(line.decode("utf-8"), object_pairs_hook=pairs, parse_constant=refuse)
    except (ValueError, RecursionError): return None
    if not isinstance(event, dict) or "\0doubled" in event: return None
    for name, kind in NEEDED.items():
        value = event.get(name)
        if type(value) is not kind or (kind is int and not 0 <= value < 2**64): return None
    fits = all(event.get(name) is None or type(event[name]) is kind for name, kind in OPTIONAL.items())
    return event if fits and event["v"] == 1 else None
def keys_of(event):
    try: return tuple(Key(event["metadata"][name]) for name in ("previous_key", "next_key"))
    except (KeyError, TypeError, AttributeError, ValueError): return None
def who_signs(rotations, notes, key, origin, first):
    """The key that signs at the end; from which event on no other one vouches; what is wrong."""
    signer = rotations[0][2] if rotations else key; believed, start = signer == key, first
    try:
        for (size, root, previous, following), note in zip(rotations, notes):
            if previous != signer: raise NoteError("event %d: it ends the epoch of another key" % (size - 1))
            for one in (previous, following):
                if open_note(note, one) != (origin, size, root): raise NoteError("event %d: another end of its epoch was signed" % (size - 1))
            signer, believed = following, believed or following == key; start = size if believed else start
        if len(notes) != len(rotations): raise NoteError("the epochs are not those that the events tell of")
        if not believed: raise NoteError("none of the keys that signed it is the one that was given")
    except NoteError as error: return signer, start, error
    return signer, start, None
def verify(events, evidence, key, asked=None):
    evidence = Evidence(evidence)
    origin = evidence.note.split("\n")[0] if evidence.note is not None else None
    tree = evidence.first if evidence.list else Tree()
    first, before = tree.size, tree.root()
    bad, problem, differs, sessions, rotations, pruned = None, None, None, {}, [], None
    def at(seq, what):
        nonlocal bad, problem
        if bad is None or seq < bad: bad, problem = seq, what
    lines = events.split(b"\n")
    torn = lines.pop()
    for n, line in enumerate(lines + ([torn] if torn else [])):
        due, whole = tree.size, n < len(lines) and len(line) <= MAX_LINE
        if not whole: at(due, "its line is too long or has no end"); line = line[:MAX_LINE + 1]
        event, leaf = event_of(line), sha(b"\0", line)
        tree.push(leaf)
        if differs is None and (not whole or evidence.leaves[n:n + 1] != [leaf]): differs = due
        if event is None: at(due, "it is not an event"); continue
        if event["seq"] != due: at(due, "event %d stands in its place" % event["seq"])
        if origin is not None and event["org_id"] != origin.rsplit("/", 1)[-1]: at(due, "it is of another organisation")
        session = event["session_id"]
        expected = sessions.get(session, event["session_seq"] if first else 0)
        if event["session_seq"] != expected: at(due, "its session_seq is not %d" % expected)
        sessions[session] = expected + 1
        if event["event_type"] == "key_rotated":
            keys = keys_of(event)
            if keys: rotations.append((tree.size, tree.root()) + keys)
            else: at(due, "it does not say which key follows which")
        if event["event_type"] == "audit_pruned":
            data = event["metadata"] if isinstance(event.get("metadata"), dict) else {}
            pruned = (data.get("first_seq"), data.get("root"))
    def result(verdict, what=None, seq=None):
        return {"verdict": verdict, "events": tree.size - first, "root": "sha256:" + tree.root().hex() if tree.size else None,
                "first_bad_seq": seq, "problem": "event %d: %s" % (seq, what) if verdict == "tampered" else what}
    def tampered(seq=None, what=None): return result("tampered", *((what, seq) if bad is None else (problem, bad)))
    unvouched = "nothing vouches for it and what follows: %s"
    if evidence.note is None: return result("no_evidence", "there is no checkpoint")
    signer, start, error = who_signs(rotations, evidence.epochs[:len(rotations)], key, origin, first)
    if error:
        if evidence.list and differs is not None: at(differs, "it is not the event that was signed")
        return tampered(start, unvouched % error)
    try:
        try: signed = open_note(evidence.note, signer)
        except NotSigned:
            if len(evidence.epochs) <= len(rotations): raise
            signed = open_note(evidence.note, key)
    except NoteError as error:
        if isinstance(error, NotSigned) and not rotations: return result("no_evidence", str(error), start)
        return result("tampered", unvouched % error, start)
    if asked is not None and asked != signed[0]: return result("tampered", unvouched % "the checkpoint is of another log", first)
    size, root = signed[1:]; holds = evidence.list and evidence.holds_form and (evidence.tree.size, evidence.tree.root()) == signed[1:]
    if (tree.size, tree.root()) == (size, root):
        if bad is not None: return tampered()
        if evidence.list and not holds: return tampered(tree.size if differs is None else differs, "the list of leaves does not hold")
        if len(evidence.epochs) != len(rotations): return tampered(tree.size, "there is a checkpoint of an epoch that no event tells of")
        if first and pruned != (first, "sha256:" + before.hex()): return tampered(first, "what is missing before it was never pruned")
        return result("pruned", "the first %d events were pruned" % first) if first else result("complete")
    if not holds:
        if tree.size < size: at(tree.size, "it is missing, as is all after it")
        return tampered(start, unvouched % "the events are not those that were signed")
    if differs is not None: at(differs, "it is not the event that was signed, or was never signed")
    return tampered() if bad is not None else result("valid_prefix", "%d events were signed" % size)
def prove(text, key, asked=None):
    """Judges the proof of one event."""
    wrong = lambda what: {"verdict": "not_proven", "problem": what}
    lines, note = text.partition("\n\n")[0].split("\n"), text.partition("\n\n")[2]
    form = [part[:6] for part in lines[1:3]] == ["extra ", "index "] and lines[0] == "c2sp.org/tlog-proof@v1"
    line, index, *path = (b64(lines[1][6:]), number(lines[2][6:]), *map(hash_of, lines[3:])) if form else (None, None)
    if line is None or index is None or None in path: return wrong("it is no C2SP tlog-proof with an event in it")
    try: origin, size, root = open_note(note, key)
    except NoteError as error: return wrong(str(error))
    if asked is not None and asked != origin: return wrong("it is of another log")
    found, at, last = sha(b"\0", line), index, size - 1
    for one in path:
        if last <= 0: return wrong("its path is too long")
        left = at & 1 or at == last
        found = sha(b"\1", one, found) if left else sha(b"\1", found, one)
        while left and at and not at & 1: at, last = at >> 1, last >> 1
        at, last = at >> 1, last >> 1
    if index >= size or last or found != root: return wrong("this event does not lead to the root that was signed")
    event = event_of(line)
    if event is None or (event["seq"], event["org_id"]) != (index, origin.rsplit("/", 1)[-1]): return wrong("the event says another place of itself")
    return {"verdict": "proven", "seq": index, "size": size, "origin": origin}
def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    for name in ("file", "--checkpoint", "--key", "--origin"): arguments.add_argument(name)
    arguments.add_argument("--proof", action="store_true"); given = arguments.parse_args()
    try:
        key = Key(open(given.key, encoding="utf-8").read().strip())
        data = open(given.file, "rb").read(); proof = data.decode("utf-8") if given.proof else None
    except (OSError, TypeError, ValueError) as error: return print(error, file=sys.stderr) or 2
    try: evidence = open(given.checkpoint or given.file + ".checkpoint", "rb").read()
    except FileNotFoundError: evidence = b""
    print(json.dumps(found := prove(proof, key, given.origin) if given.proof else verify(data, evidence, key, given.origin)))
    return 0 if found["verdict"] in ("complete", "pruned", "proven") else 6
if __name__ == "__main__": sys.exit(main())
