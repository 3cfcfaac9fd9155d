from matplotlib.figure import Figure


def text(space, arch):
    return space.describe(arch)


def figure(space, arch):
    f = Figure(figsize=(4, 3))
    f.text(0.1, 0.5, space.describe(arch), fontsize=5)
    return f
