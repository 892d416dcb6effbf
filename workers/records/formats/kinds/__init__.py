"""The formats that come with the package, one file each: the registry finds every module of this folder."""
