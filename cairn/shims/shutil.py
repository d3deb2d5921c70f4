"""`shutil`: copying, moving and removing files of the project."""

import os
from pathlib import Path


class cairn_shutil:
    def copyfile(src, dst):
        Path(str(dst)).write_bytes(Path(str(src)).read_bytes())
        return dst

    def copy(src, dst):
        target = os.path.join(str(dst), os.path.basename(str(src))) if Path(str(dst)).is_dir() else dst
        return cairn_shutil.copyfile(src, target)

    def copy2(src, dst):
        return cairn_shutil.copy(src, dst)

    def move(src, dst):
        target = os.path.join(str(dst), os.path.basename(str(src))) if Path(str(dst)).is_dir() else dst
        os.rename(str(src), str(target))
        return target

    def rmtree(path, ignore_errors=False):
        if ignore_errors and not Path(str(path)).exists():
            return
        delete_file(str(path))

    def copytree(src, dst):
        for folder, _folders, names in os.walk(str(src)):
            inside = os.path.relpath(folder, str(src))
            for name in names:
                target = os.path.normpath(os.path.join(str(dst), inside, name))
                os.makedirs(os.path.dirname(target), exist_ok=True)
                cairn_shutil.copyfile(os.path.join(folder, name), target)
        return dst
