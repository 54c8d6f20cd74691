"""Measuring: contestants that do the same work, a referee that lets them run in turn, a report.

task.py           what every contestant is given
limit.py          bare decode: what the codec alone can do
pillow_loops.py   Pillow and NumPy, one image after the other and on threads
penstock_runs.py  Penstock's engines
worker.py         the process one contestant runs in
interleave.py     the referee: rounds in turn, medians, CPU seconds, peak memory
choose.py         which files of a folder every contestant can decode
report.py         the table
machine.py        the CPU's name, this process's peak memory
verify.py         not speed but pixels: every image against Pillow
"""
