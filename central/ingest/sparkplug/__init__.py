"""The Sparkplug host application: what third-party edge nodes publish, stored and commanded.

document.py says what is wanted; lease.py which hub of several does it; link.py keeps one MQTT
server; nodes.py is the tree of edge nodes; samples.py and bridge.py turn metrics into journal rows;
commands.py checks and audits writes; host.py joins them.
"""
