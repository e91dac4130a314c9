"""What is asked of the address space: children, parents, supertypes, properties by name.

Source: OPC 10000-4, 5.8.2 (Browse), 5.8.4 (TranslateBrowsePathsToNodeIds).
"""

from __future__ import annotations

from typing import Any

from asyncua import ua


def children_of(node_id: Any) -> Any:
    """Describe a browse for the objects and variables below a node, properties among them.

    Organizes, HasComponent, HasProperty and their subtypes; who looks leaves the properties out.
    """
    description = ua.BrowseDescription()
    description.NodeId = node_id
    description.BrowseDirection = ua.BrowseDirection.Forward
    description.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
    description.IncludeSubtypes = True
    description.NodeClassMask = ua.NodeClass.Object | ua.NodeClass.Variable
    description.ResultMask = ua.BrowseResultMask.All
    return description


def parents_of(node_id: Any) -> Any:
    """Describe a browse for the nodes above a node."""
    description = ua.BrowseDescription()
    description.NodeId = node_id
    description.BrowseDirection = ua.BrowseDirection.Inverse
    description.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HierarchicalReferences)
    description.IncludeSubtypes = True
    description.ResultMask = ua.BrowseResultMask.All
    return description


def has_subtype_above(node_id: Any) -> Any:
    """Describe a browse for the supertype of a type."""
    return _subtypes(node_id, ua.BrowseDirection.Inverse)


def has_subtype_below(node_id: Any) -> Any:
    """Describe a browse for the subtypes of a type."""
    return _subtypes(node_id, ua.BrowseDirection.Forward)


def _subtypes(node_id: Any, direction: ua.BrowseDirection) -> Any:
    description = ua.BrowseDescription()
    description.NodeId = node_id
    description.BrowseDirection = direction
    description.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasSubtype)
    description.IncludeSubtypes = True
    description.ResultMask = ua.BrowseResultMask.All
    return description


def property_path(node_id: Any, name: str) -> Any:
    """Describe the way from a node to its property of the standard."""
    element = ua.RelativePathElement()
    element.ReferenceTypeId = ua.NodeId(ua.ObjectIds.HasProperty)
    element.IsInverse = False
    element.IncludeSubtypes = True
    element.TargetName = ua.QualifiedName(name, 0)
    path = ua.BrowsePath()
    path.StartingNode = node_id
    path.RelativePath.Elements = [element]
    return path


def is_property(reference: Any) -> bool:
    """Tell a property's reference from one to a component."""
    return bool(reference.ReferenceTypeId == ua.NodeId(ua.ObjectIds.HasProperty))
