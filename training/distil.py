"""The repair part trained to paint what a teacher (wider kernels, same inputs) paints. distil.py TEACHER -- fit arguments"""
import sys; sys.path.insert(0,'/work/rel')
import torch
from pathlib import Path
from training import objectives, losses
from training.weights import load_networks
teacher,_=load_networks(Path(sys.argv[1])); teacher=teacher.repair.requires_grad_(False).eval().to(memory_format=torch.channels_last)
R=objectives.RepairObjective
def paint(self, views, seen):
    views=objectives._squares(views,self.crop,{"features":8})
    image,hole,guess=views["image"],views["hole"],views["guess"]
    args=(guess,views["edges"],hole,views["features"],views["coarse"],views["noise"])
    residual=self.generator.refine(*args)
    with torch.no_grad(): wanted=teacher.refine(*args)
    painted=objectives.Painted(image+hole*(guess+residual-image),image,hole)
    painted.extra["teacher"]=image+hole*(guess+wanted-image)
    n=len(image); gain=1.0+0.1*(2.0*torch.rand(n,1,1,1)-1.0); shift=0.1*(2.0*torch.rand(n,1,1,1)-1.0)
    fake,real,aim=(each*gain+shift for each in (painted.fake,painted.real,painted.extra["teacher"]))
    painted.extra|={"fake":fake,"real":real}
    painted.features=self.features(fake)
    with torch.no_grad():
        painted.real_features=self.features(real); painted.extra["aim_features"]=self.features(aim)
    return painted
def parts(self, painted, adversarial):
    aim,hole=painted.extra["teacher"],painted.hole
    found={"l1":losses.hole_l1(painted.fake,aim,hole),
           "perceptual":losses.perceptual(painted.features,painted.extra["aim_features"],hole)}
    if adversarial:
        found["adversarial"]=losses.generator_hinge(self.critics["projected"](painted.features)[0],hole)
    return found
R.paint,R.parts=paint,parts
from training.cli import main
sys.exit(main(sys.argv[2:]))
