"""The live page: what it shows, how it is fed, and its files.  Its HTTP is downstream's.

view      what one watcher is told next: values in, values out
feed      the second's beat: this process's view, and those of the other workers
peers     the workers' sockets towards each other
session   who may look: admin keys, and the cookie that stands for one
static    the page itself: plain files, no build step
"""
