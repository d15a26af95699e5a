"""Random changes of files, read by every loader of foreign files.

    python tests/fuzz.py --cases 200000 --seed 7 --workers 2
    python tests/fuzz.py --seed 7 --case 1234            # one case again, in this process
    python tests/fuzz.py --loaders metadata 'faces, ply'  # the cases of these loaders alone

Case ``number`` of a seed is the same everywhere: which loader, and how its file is changed (bytes,
instructions of pickles, headers of arrays, fields, shapes, dtypes). Workers are forked after the
imports, with limits on memory and processor time. A case ends in one of

- ok: the loader takes the file;
- refused: the project's own error, with the file's name;
- raised: any other exception, or an error without the file's name;
- memory: more than the limit was asked for;
- crash: the interpreter ended;
- timeout: the limit of time was reached.

All but the first two are failures; the file of each is kept. ``seed_SEED.json`` in the output
folder counts the outcomes; ``result_pages.py collect`` takes it into docs/results.

Files of other layouts of Human3.6M hold the time at which they were written, so some of their bytes
differ from run to run.
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import faulthandler
import gc
import io
import json
import logging
import multiprocessing
import os
import pickle
import pickletools
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
from loaders import CASES, Case
from malformed import damage, disfigure
from source_loaders import SOURCES
from tool_modules import load_tool

from mmjrr.errors import DataError
from mmjrr.io import versions

ROOT = Path(__file__).resolve().parents[1]
#: All loaders.
LOADERS = {**CASES, **SOURCES}
#: Outcomes that must not happen.
FAILURES = ('raised', 'memory', 'crash', 'timeout')
#: Bytes of addresses beyond those of the parent.
MEMORY = 4 << 30
#: Seconds of processor time of a case; ten times as long by the clock.
SECONDS = 10
#: Names that a changed pickle may use in place of another.
_NAMES = (
    ('os', 'system'), ('builtins', 'eval'), ('builtins', 'getattr'), ('builtins', 'bytearray'),
    ('builtins', 'bytes'), ('builtins', 'list'), ('builtins', 'set'), ('builtins', 'object'),
    ('numpy', 'dtype'), ('numpy', 'ndarray'), ('numpy.core.multiarray', '_reconstruct'),
    ('numpy.core.multiarray', 'scalar'), ('numpy.core.numeric', '_frombuffer'),
    ('numpy._core.multiarray', '_reconstruct'), ('scipy.sparse._csc', 'csc_matrix'),
    ('scipy.sparse._coo', 'coo_matrix'), ('collections', 'OrderedDict'), ('_codecs', 'encode'),
    ('collections', 'defaultdict'), ('copyreg', '_reconstructor'), ('chumpy.ch', 'Ch'),
    ('chumpy.reordering', 'Select'), ('torch._utils', '_rebuild_tensor_v2'),
    ('torch', 'FloatStorage'), ('torch', 'Size'), ('torch.storage', '_load_from_bytes'),
    ('joblib.numpy_pickle', 'NumpyArrayWrapper'), ('datetime', 'datetime'),
)  # fmt: skip
_TEXTS = (
    'O',
    'O8',
    'V8',
    'V2000000000',
    'U99999',
    'f8',
    '<f4',
    '>i8',
    'M8[D]',
    'S0',
    'U0',
    '',
    'x',
)
_NUMBERS = (-1, 0, 1, 2, 255, 65536, 10**6, 2**31 - 1, 2**31, 2**40, 2**62, -(2**31))
_SHAPES = (
    (),
    (0,),
    (1,),
    (10**12,),
    (10**6, 0),
    (2**31, 0, 3),
    (-1,),
    (4, 72),
    (1,) * 40,
    (2**62, 4),
)
_DTYPES = (
    '<f4',
    '<f8',
    '>f4',
    '|O',
    '|V8',
    '<U4',
    '|S0',
    '<U0',
    '|b1',
    '<c8',
    '<M8[D]',
    '<i8',
    'x',
)


# -- changes ---------------------------------------------------------------------------------------


def changed_file(case: Case, rng: random.Random) -> tuple[str, bytes] | None:
    """Return how a loader's file is changed, and its bytes; None where no such file can be made."""
    _, make, write, _ = case
    kind = rng.choice(['bytes', 'inside', 'inside', 'fields', 'fields'])
    content = make()
    if kind == 'fields' and content is not None:
        try:
            return kind, write(disfigure(content, rng))
        except (TypeError, ValueError, AttributeError, OverflowError, RuntimeError):
            return None
    whole = write(content)
    return (kind, damage(whole, rng)) if kind == 'bytes' else ('inside', change_inside(whole, rng))


def change_inside(data: bytes, rng: random.Random) -> bytes:
    """Return a file with a part changed whose checksums and lengths still fit."""
    if data[:2] == b'PK':
        return _change_member(data, rng)
    if data[:6] == b'\x93NUMPY':
        return _change_npy(data, rng)
    if data[:1] == b'\x80':
        return _change_pickle(data, rng)
    if data[:2] in (b'x\x9c', b'x\xda', b'x\x01'):
        return zlib.compress(change_inside(zlib.decompress(data), rng))
    if data[:3] == b'BZh':
        return bz2.compress(change_inside(bz2.decompress(data), rng))
    if data[:1] in (b'{', b'['):
        return _change_json(data, rng)
    return damage(data, rng)


def _change_member(data: bytes, rng: random.Random) -> bytes:
    """Change one file of a zip archive, or which files there are."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    name, content = members[at]
    how = rng.random()
    if how < 0.8:
        pickles = [n for n, (_, c) in enumerate(members) if c[:1] == b'\x80' and b'.' in c]
        if pickles and rng.random() < 0.7:
            at = rng.choice(pickles)
            name, content = members[at]
        members[at] = (name, change_inside(content, rng))
    elif how < 0.85:
        del members[at]
    elif how < 0.9:
        members.append((name, content))
    elif how < 0.95:
        other = members[rng.randrange(len(members))][0]
        members[at] = (rng.choice([other, name + 'x', '../x.npy', 'constants.pkl']), content)
    else:
        members.append((rng.choice(['archive/code/a.py', 'archive/byteorder', 'x']), b'big'))
    file = io.BytesIO()
    method = rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    with warnings.catch_warnings(), zipfile.ZipFile(file, 'w') as archive:
        warnings.simplefilter('ignore')  # two files of one name
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def _change_npy(data: bytes, rng: random.Random) -> bytes:
    """Change the header of an array: shape, dtype, order; or its bytes."""
    if rng.random() < 0.2 or len(data) < 12:
        return damage(data, rng)
    length = struct.unpack('<H', data[8:10])[0]
    try:
        header = eval(data[10 : 10 + length], {'__builtins__': {}})  # made here
    except Exception:
        return damage(data, rng)
    how = rng.choice(['shape', 'descr', 'order', 'axis', 'extra'])
    if how == 'shape':
        header['shape'] = rng.choice(_SHAPES)
    elif how == 'descr':
        header['descr'] = rng.choice([*_DTYPES, [('a', '<f4'), ('b', '<i4')], ('<f4', (3,))])
    elif how == 'order':
        header['fortran_order'] = rng.choice([True, None, 'x'])
    elif how == 'axis' and header['shape']:
        shape = list(header['shape'])
        shape[rng.randrange(len(shape))] = rng.choice(_NUMBERS)
        header['shape'] = tuple(shape)
    else:
        header[rng.choice(['extra', 'shape', 'descr'])] = rng.choice(_NUMBERS)
    text = repr(header).encode()
    text += b' ' * (-(len(text) + 11) % 64) + b'\n'
    return data[:8] + struct.pack('<H', len(text)) + text + data[10 + length :]


def _change_json(data: bytes, rng: random.Random) -> bytes:
    """Change a token of a JSON text for another."""
    text = data.decode()
    cuts = [n for n, c in enumerate(text) if c in ',:[]{}']
    if not cuts:
        return damage(data, rng)
    at = rng.choice(cuts)
    new = rng.choice([
        ',', ':', '[', ']', '{', '}', '[' * 2000, '{"a":' * 500, ',null,', ',1e999,', ',NaN,',
        ',"\\ud800",', ',-0,', f',{"9" * 5000},', ',{},', ',[],', '\\', '"', ',true,', ',1e-400,',
        ',0.1,', ',"x",', ',"0",',
    ])  # fmt: skip
    return (text[:at] + new + text[at + rng.randint(0, 1) :]).encode()


def _change_pickle(data: bytes, rng: random.Random) -> bytes:
    """Change instructions of a pickle, or of one among several that follow one another."""
    instructions = list(_instructions(data))
    if not instructions:
        return damage(data, rng)
    end = instructions[-1][2]
    codes = [data[start:stop] for _, start, stop in instructions]
    for _ in range(rng.choice([1, 1, 2, 3])):
        at = rng.randrange(len(codes))
        how = rng.choice(['out', 'twice', 'swap', 'other', 'number', 'name', 'text', 'text'])
        if how == 'out':
            codes[at] = b''
        elif how == 'twice':
            codes[at] *= rng.choice([2, 2, 3, 50])
        elif how == 'swap':
            other = rng.randrange(len(codes))
            codes[at], codes[other] = codes[other], codes[at]
        elif how == 'other':
            codes[at] = rng.choice([
                b'0', b'1', b'2', b'(', b'.', b'N', b'R', b'b', b'o', b't', b'e', b'u', b'a', b's',
                b']', b')', b'}', b'\x81', b'\x85', b'\x86', b'\x88', b'\x92', b'\x93', b'\x97',
                b'\x98', b'\x94', b'h\x00', b'h\x05', b'q\x00', b'Q', b'\x8f', b'\x90', b'\x91',
                b'j\xff\xff\xff\x7f', b'r\xff\xff\xff\x7f', b'\x82\x01', b'\x8e' + b'\xff' * 8,
                b'\x96' + b'\xff' * 7 + b'\x7f', b'C\x08AAAAAAAA', b'I99\n', b'L9L\n', b'F1e999\n',
            ])  # fmt: skip
        elif how == 'number':
            number = rng.choice(_NUMBERS)
            codes[at] = pickle.dumps(number, 2)[2:-1]
        elif how == 'name':
            places = [n for n, code in enumerate(codes) if code[:1] == b'c']
            module, name = rng.choice(_NAMES)
            codes[rng.choice(places) if places else at] = f'c{module}\n{name}\n'.encode()
        else:
            places = [n for n, code in enumerate(codes) if code[:1] in (b'X', b'U', b'\x8c', b'K')]
            place = rng.choice(places) if places else at
            value = rng.choice(_NUMBERS) if codes[place][:1] == b'K' else rng.choice(_TEXTS)
            codes[place] = pickle.dumps(value, 2)[2:-1].removesuffix(b'q\x00')
    return b''.join(codes) + data[end:]


def _instructions(data: bytes) -> Iterator[tuple[str, int, int]]:
    """Yield name, begin and end of the instructions of pickles that follow one another."""
    start = 0
    while start < len(data):
        stops: list[tuple[str, int]] = []
        try:
            for opcode, _, position in pickletools.genops(io.BytesIO(data[start:])):
                stops.append((opcode.name, start + int(position or 0)))
        except Exception:  # bytes that are no pickle: storages of tensors, arrays of joblib
            return
        ends = [position for _, position in stops[1:]] + [stops[-1][1] + 1]
        for (name, position), stop in zip(stops, ends, strict=True):
            yield name, position, stop
        start = ends[-1]


# -- one case --------------------------------------------------------------------------------------


@dataclass
class Result:
    """Result of a case."""

    number: int
    loader: str
    outcome: str
    kind: str = ''
    detail: str = ''
    seconds: float = 0.0


def case_of(
    seed: int, number: int, cases: Mapping[str, Case] = LOADERS
) -> tuple[str, tuple[str, bytes] | None]:
    """Return the loader of a case, and how its file is changed and its bytes."""
    names = list(cases)
    loader = names[number % len(names)]
    return loader, changed_file(cases[loader], random.Random(f'{seed} {number}'))


def run_case(seed: int, number: int, folder: Path, cases: Mapping[str, Case] = LOADERS) -> Result:
    """Read one changed file with its loader."""
    loader, change = case_of(seed, number, cases)
    if change is None:
        return Result(number, loader, 'ok', 'none')
    kind, content = change
    name, _, _, load = cases[loader]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(content)
    start = time.process_time()
    outcome, detail = 'ok', ''
    try:
        load(folder / name)
    except MemoryError:
        outcome, detail = 'memory', traceback.format_exc(limit=-3)
    except (DataError, FileNotFoundError) as error:
        outcome = 'refused'
        if 'more memory than this machine' in str(error):
            outcome, detail = 'memory', str(error)
        elif str(folder) not in str(error):
            outcome, detail = 'raised', f'without the file: {type(error).__name__}: {error}'
    except BaseException:
        outcome, detail = 'raised', traceback.format_exc(limit=-4)
    return Result(number, loader, outcome, kind, detail, time.process_time() - start)


# -- many cases ------------------------------------------------------------------------------------


@dataclass
class Worker:
    """A forked process that runs the cases ``start``, ``start + step``, … below ``stop``."""

    process: Any
    connection: Connection
    start: int
    running: int | None = None
    since: float = field(default_factory=time.monotonic)


def fuzz(
    cases: int,
    seed: int,
    workers: int = 1,
    loaders: Mapping[str, Case] = LOADERS,
    report: Callable[[str], None] | None = None,
    memory: int = MEMORY,
    seconds: int = SECONDS,
    skip: frozenset[str] = frozenset(),
) -> list[Result]:
    """Run cases 0 to ``cases`` - 1 of a seed, and return their results by number.

    Args:
        cases: number of cases.
        seed: seed of the changes.
        workers: forked processes.
        loaders: as :data:`loaders.CASES`. Default: all.
        report: called with lines of progress. Default: no report.
        memory: bytes of addresses of a worker beyond those of this process.
        seconds: processor time of a case.
        skip: loaders whose cases are left out.
    """
    context = multiprocessing.get_context('fork')
    results: dict[int, Result] = {}
    names = list(loaders)
    with tempfile.TemporaryDirectory(prefix='mmjrr_fuzz_') as folder:

        def fork(slot: int, start: int) -> Worker:
            ours, theirs = context.Pipe(duplex=False)
            numbers = [
                number
                for number in range(start, cases, workers)
                if names[number % len(names)] not in skip
            ]
            arguments = (theirs, numbers, seed, Path(folder, str(slot)),
                         loaders, memory, seconds)  # fmt: skip
            process = context.Process(target=_work, args=arguments, daemon=True)
            process.start()
            theirs.close()
            return Worker(process, ours, start)

        pool = {slot: fork(slot, slot) for slot in range(min(workers, cases))}
        begin = said = time.monotonic()
        while pool:
            by_connection = {worker.connection: slot for slot, worker in pool.items()}
            for connection in wait(list(by_connection), timeout=1.0):
                slot = by_connection[connection]  # type: ignore[index]
                worker = pool[slot]
                try:
                    message = worker.connection.recv()
                except EOFError:
                    del pool[slot]
                    worker.process.join()
                    if worker.running is not None:  # ended in the middle of a case
                        number = worker.running
                        results[number] = _ended(number, names, worker.process.exitcode, seconds)
                        if number + workers < cases:
                            pool[slot] = fork(slot, number + workers)
                    continue
                if isinstance(message, Result):
                    results[message.number], worker.running = message, None
                else:
                    worker.running, worker.since = message, time.monotonic()
            now = time.monotonic()
            for worker in pool.values():
                if worker.running is not None and now - worker.since > 10 * seconds:
                    worker.process.kill()
            if report is not None and now - said > 10:
                said = now
                failed = sum(result.outcome in FAILURES for result in results.values())
                left = (now - begin) / max(len(results), 1) * (cases - len(results))
                report(f'{len(results)} of {cases} cases, {failed} failed, {left:.0f} s left')
    return [results[number] for number in sorted(results)]


def _ended(number: int, names: Sequence[str], code: int | None, seconds: int) -> Result:
    """Return the result of a case that ended its process."""
    timeouts = (-signal.SIGPROF, -signal.SIGKILL)
    outcome = 'timeout' if code in timeouts else 'crash'
    detail = f'more than {seconds} seconds' if outcome == 'timeout' else f'exit code {code}'
    return Result(number, names[number % len(names)], outcome, '', detail, float(seconds))


def _work(
    connection: Connection,
    numbers: Sequence[int],
    seed: int,
    folder: Path,
    loaders: Mapping[str, Case],
    memory: int,
    seconds: int,
) -> None:
    """Run cases in a forked process; send each number before, and its result after."""
    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    gc.freeze()  # MMEngine's data sets collect garbage, which would visit all imported modules
    used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # ends the process, in C code too
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    faulthandler.disable()  # pytest's, which writes to the terminal
    logging.disable(logging.CRITICAL)
    warnings.simplefilter('ignore')
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    for number in numbers:
        connection.send(number)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        with contextlib.redirect_stdout(io.StringIO()):
            result = run_case(seed, number, folder, loaders)
        signal.setitimer(signal.ITIMER_PROF, 0)
        connection.send(result)
    connection.close()


# -- what came of it -------------------------------------------------------------------------------


def failures_of(results: Sequence[Result]) -> list[Result]:
    """Return the results of cases that failed."""
    return [result for result in results if result.outcome in FAILURES]


def summary(results: Sequence[Result], seed: int) -> str:
    """Return a table by loader, and for each failure the command that repeats it."""
    lines = [f'{"loader":28}{"cases":>8}{"ok":>8}{"refused":>8}{"failed":>8}{"longest, s":>12}']
    for loader in dict.fromkeys(result.loader for result in results):
        of_loader = [result for result in results if result.loader == loader]
        counts = Counter(result.outcome for result in of_loader)
        failed = sum(counts[outcome] for outcome in FAILURES)
        longest = max(result.seconds for result in of_loader)
        lines.append(
            f'{loader:28}{len(of_loader):8}{counts["ok"]:8}{counts["refused"]:8}{failed:8}{longest:12.2f}'
        )
    counts = Counter(result.outcome for result in results)
    lines.append(
        f'seed {seed}: {len(results)} cases: '
        + ', '.join(f'{counts[name]} {name}' for name in ('ok', 'refused', *FAILURES))
    )
    for result in failures_of(results):
        lines += [
            f'\n{result.outcome}: {result.loader} ({result.kind or "?"})',
            f'python tests/fuzz.py --seed {seed} --case {result.number}',
            result.detail.rstrip(),
        ]
    return '\n'.join(lines)


def record_of(results: Sequence[Result], seed: int) -> dict[str, Any]:
    """Return counts of the outcomes, over all cases and by loader, with their provenance."""
    result_pages = load_tool('analysis_tools/result_pages.py')
    loaders: dict[str, Counter[str]] = {}
    for result in results:
        loaders.setdefault(result.loader, Counter())[result.outcome] += 1
    outcomes = ('ok', 'refused', *FAILURES)
    return {
        **result_pages.provenance(result_pages.present_commit()),
        'versions': versions(),
        'seed': seed,
        'cases': len(results),
        'outcomes': {name: sum(r.outcome == name for r in results) for name in outcomes},
        'loaders': {loader: dict(counts) for loader, counts in sorted(loaders.items())},
        'longest_seconds': max(result.seconds for result in results),
        'limits': {'seconds': SECONDS, 'bytes': MEMORY},
    }


def keep_files(results: Sequence[Result], seed: int, out: Path) -> None:
    """Write the files of failed cases, each with its result beside it."""
    for result in failures_of(results):
        loader, change = case_of(seed, result.number)
        if change is None:
            continue
        folder = out / f'{seed}_{result.number}'
        folder.mkdir(parents=True, exist_ok=True)
        (folder / Path(LOADERS[loader][0]).name).write_bytes(change[1])
        (folder / 'result.json').write_text(json.dumps(vars(result), indent=1) + '\n')


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--cases', type=int, default=2000, help='how many')
    parser.add_argument('--seed', type=int, default=0, help='which')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='processes')
    parser.add_argument('--loaders', nargs='+', choices=LOADERS, default=list(LOADERS),
                        metavar='NAME', help='cases of these alone')  # fmt: skip
    parser.add_argument('--case', type=int, help='run this case alone, in this process')
    parser.add_argument('--out', type=Path, default=ROOT / 'work_dirs' / 'fuzz',
                        help='folder for counts and for the files of failed cases')  # fmt: skip
    args = parser.parse_args()
    for name in ('cases', 'workers'):
        if getattr(args, name) < 1:
            parser.error(f'--{name} {getattr(args, name)}: expected at least 1')
    if args.case is not None:
        folder = args.out / 'again'
        print(run_case(args.seed, args.case, folder))
        print(f'its file is in {folder}')
        return
    skip = frozenset(LOADERS) - frozenset(args.loaders)
    results = fuzz(args.cases, args.seed, args.workers, report=print, skip=skip)
    keep_files(results, args.seed, args.out)
    args.out.mkdir(parents=True, exist_ok=True)
    record = json.dumps(record_of(results, args.seed), indent=1)
    (args.out / f'seed_{args.seed}.json').write_text(record + '\n')
    print(summary(results, args.seed))
    if failures_of(results):
        print(f'\nfiles of failed cases are in {args.out}')
        sys.exit(1)


if __name__ == '__main__':
    main()
